"""What Latchkey does. Knows nothing of HTTP (``web``) and nothing of Celery (``tasks``)."""

__version__ = "0.1.0"
