"""Sealing: data encryption keys, the providers that wrap them, and the values sealed under them."""
