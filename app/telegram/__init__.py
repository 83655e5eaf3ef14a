"""Telegram, as this code uses it: the loop thread, connections, paced calls, flood waits, errors."""
