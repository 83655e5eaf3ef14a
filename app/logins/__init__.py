"""Logins: their rows and states, the conversations with Telegram, and what callers may ask of them."""
