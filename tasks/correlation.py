"""A task's lines carry what its message brought along, and the task's own name and id."""

from __future__ import annotations

from typing import Any

from celery.signals import task_prerun

from app.correlation import begin, read_message_headers


def correlate_tasks() -> None:
    """Begin each task that this process runs with the correlation of its message."""
    task_prerun.connect(_begin, weak=False)


def _begin(task_id: str, task: Any, **_: Any) -> None:
    # The pool's threads live on: what the last task noted is forgotten here.
    begin(task=task.name, task_id=task_id, **read_message_headers(task.request.headers or {}))
