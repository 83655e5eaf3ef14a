"""Backups: sealed sessions as S3 objects, each with all that opening it needs but the key encryption key."""
