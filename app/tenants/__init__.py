"""Tenants, their API keys, scopes and limits."""
