"""What Telegram does with a call: accounts, authorizations, login tokens, codes, passwords.

Knows nothing of sockets.
"""
