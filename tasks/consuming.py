"""Whether a worker does what it is there for: it takes from its queues, and its loop goes round.

A worker can be up, answer pings, and take nothing any more, after a broker was lost, say. Its health check asks here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from celery.worker import state
from kombu.exceptions import ChannelError, OperationalError
from redis.exceptions import RedisError

from app.errors import AppError

STALLED_SECONDS = 30.0
"""How long messages may wait beside free threads, and how long the loop may be silent."""

STUCK_SECONDS = 120.0
"""How long something may be wrong beside a broker that answers, before whoever supervises the process should start another."""

_TICK_SECONDS = 1.0


class NotConsuming(AppError):
    """Raised when a worker does not do what it is there for."""

    code = "not_ready"


class Consumption:
    """What one worker takes from its queues. Lives as long as the worker.

    Args:
        worker: Celery's, before it consumes; the queues that it has been given now are those that it must take from.
        monotonic: a clock in seconds.
    """

    def __init__(self, worker: Any, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._worker = worker
        self._monotonic = monotonic
        self._queues = tuple(worker.app.amqp.queues.consume_from)
        self._ticked_at = monotonic()
        self._taken = -1
        self._waiting_since: float | None = None
        self._wrong_since: float | None = None

    def follow(self) -> None:
        """Let the worker's loop show that it goes round."""
        self._worker.timer.call_repeatedly(_TICK_SECONDS, self.tick)

    def tick(self) -> None:
        """Note that the loop goes round."""
        self._ticked_at = self._monotonic()

    def ask(self) -> str:
        """As a check of readiness has it.

        Raises:
            NotConsuming: something is wrong.
        """
        if (fault := self.fault()) is not None:
            raise NotConsuming(fault)
        return f"takes from {', '.join(self._queues)}"

    def stuck(self) -> str | None:
        """Say what has been wrong for so long, though the broker answers, that only a new process mends it; None: nothing."""
        fault = self.fault()
        if fault is None or not self._broker_answers():
            self._wrong_since = None
            return None
        if self._wrong_since is None:
            self._wrong_since = self._monotonic()
        return fault if self._monotonic() - self._wrong_since > STUCK_SECONDS else None

    def _broker_answers(self) -> bool:
        try:
            self._messages()
        except (ChannelError, OperationalError, RedisError, OSError):
            return False
        return True

    def fault(self) -> str | None:
        """Say in a sentence what is wrong; None: all is well, as far as can be seen."""
        consumer = getattr(self._worker.consumer, "task_consumer", None)
        if consumer is None:
            return "It does not consume: it is starting, stopping, or without its broker."
        if missing := [queue for queue in self._queues if not consumer.consuming_from(queue)]:
            return f"It does not consume from {', '.join(missing)}."
        if self._monotonic() - self._ticked_at > STALLED_SECONDS:
            return "Its loop stands still."
        try:
            return self._stall()
        except (ChannelError, OperationalError, RedisError, OSError) as exc:
            return f"Its broker does not answer: {type(exc).__name__}."

    def _stall(self) -> str | None:
        """Messages that wait although there are threads for them, for too long."""
        taken, now = state.all_total_count[0], self._monotonic()
        busy = len(state.active_requests) >= self._worker.concurrency
        if taken != self._taken or busy or not self._messages():
            self._taken, self._waiting_since = taken, None
            return None
        if self._waiting_since is None:
            self._waiting_since = now
        if now - self._waiting_since < STALLED_SECONDS:
            return None
        return "It takes nothing from its queues, though messages wait and it has threads for them."

    def _messages(self) -> int:
        with self._worker.app.pool.acquire(block=True, timeout=2) as connection:
            return sum(_waiting(connection.default_channel, queue) for queue in self._queues)


def _waiting(channel: Any, queue: str) -> int:
    try:
        return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except ChannelError:  # a list that is empty is not there
        return 0
