"""Celery: one module per subject, each task a few lines that call ``app``. Knows nothing of ``web``."""

from tasks.celery_app import celery_app

__all__ = ["celery_app"]
