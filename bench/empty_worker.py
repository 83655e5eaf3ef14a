"""A Celery worker without a task: what any worker costs at least. Says that it is ready by making the file ``READY_FILE``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_ready

app = Celery("empty", broker=os.environ["REDIS_URL"])


@worker_ready.connect
def _say_so(**_: Any) -> None:
    Path(os.environ["READY_FILE"]).touch()
