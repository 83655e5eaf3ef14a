"""Small programs that show how Latchkey is used; each runs on its own."""
