"""What Latchkey does. Knows nothing of HTTP (``web``) and nothing of Celery (``tasks``)."""
