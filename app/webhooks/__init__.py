"""Webhooks: the outbox and its signatures."""
