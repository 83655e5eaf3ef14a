"""Backups: S3 objects, manifests, verification, restore."""
