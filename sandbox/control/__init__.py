"""How tests and people drive the sandbox: JSON over HTTP and a page that plays the phone. Loopback only."""
