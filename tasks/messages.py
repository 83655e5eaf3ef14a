"""How Celery's messages are built here. Knows nothing of what they ask for."""

from __future__ import annotations

from typing import Any

from celery.app.amqp import AMQP

from app.periodic import PERIODIC_TASKS


class QuietAMQP(AMQP):
    """Celery's messages, of which those that beat sends tell nobody that they were sent.

    A task's own ``send_events=False`` silences only who runs it.
    """

    def as_task_v2(self, task_id: str, name: str, *args: Any, **options: Any) -> Any:
        """Build a message."""
        message = super().as_task_v2(task_id, name, *args, **options)
        return message._replace(sent_event=None) if name in PERIODIC_TASKS else message
