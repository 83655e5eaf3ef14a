"""MTProto 2.0: transports, the auth key exchange, encrypted messages, sessions.

Knows nothing of accounts or logins.
"""
