"""Spans of tasks. Imported by a worker's bootstep where something is traced, and nowhere else.

The instrumentation of Celery ends the span of a message only if this process knows the task: a worker knows them all. ``web``
knows none, so that ``app.dispatch`` makes that span.
"""

from __future__ import annotations

from typing import Any

from celery.signals import task_postrun, task_prerun
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_current_span

from app.core import Core
from app.otlp import note_correlation, note_trace, trace_stores
from app.telegram.process import TelegramParts


def trace_tasks(provider: TracerProvider, core: Core, telegram: TelegramParts) -> None:
    """Make a span of each task that this worker runs and sends, and spans of what it asks the stores."""
    trace_stores(provider, engine=core.engine, clients=[core.redis, telegram.redis])
    # In this order: the instrumentation's own handlers open the span and end it.
    task_postrun.connect(_before_its_end, weak=False)
    CeleryInstrumentor().instrument(tracer_provider=provider)  # type: ignore[no-untyped-call]  # theirs
    task_prerun.connect(_after_its_begin, weak=False)


def _after_its_begin(**_: Any) -> None:
    note_trace(get_current_span())


def _before_its_end(**_: Any) -> None:
    note_correlation()
