"""Whether a worker does what it is there for: it takes from its queues, and its loop goes round.

A worker can be up, answer pings, and take nothing any more, after a broker was lost, say. Its health check asks here, and a
watchdog ends a worker that nothing but a new start would help, so that whoever supervises it starts it again.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from celery.worker import state
from kombu.exceptions import ChannelError

from app.brokers import BROKER_ERRORS
from app.errors import AppError
from app.logs import get_logger

STALLED_SECONDS = 30.0
"""How long messages may wait beside free threads, and how long the loop may be silent."""

PATIENCE_SECONDS = 120.0
"""How long a standstill that a new start would help is watched before the worker is ended."""

_TICK_SECONDS = 1.0
_LOOK_SECONDS = 10.0
_LEAVE_SECONDS = 60.0

_log = get_logger(__name__)


class Standstill(NamedTuple):
    """What is wrong, in a sentence, and whether a new start of the worker would help."""

    sentence: str
    wants_restart: bool = False


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
        self._taken = (-1, -1)
        self._waiting_since: float | None = None

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
        if (found := self.standstill()) is not None:
            raise NotConsuming(found.sentence)
        return f"takes from {', '.join(self._queues)}"

    def standstill(self) -> Standstill | None:
        """Say what is wrong; None: all is well, as far as can be seen."""
        consumer = getattr(self._worker.consumer, "task_consumer", None)
        if consumer is None:
            return Standstill("It does not consume: it is starting, stopping, or without its broker.")
        if missing := [queue for queue in self._queues if not consumer.consuming_from(queue)]:
            return Standstill(f"It does not consume from {', '.join(missing)}.")
        if self._monotonic() - self._ticked_at > STALLED_SECONDS:
            return Standstill("Its loop stands still.", wants_restart=True)
        try:
            return self._stall()
        except BROKER_ERRORS as exc:
            return Standstill(f"Its broker does not answer: {type(exc).__name__}.")

    def _stall(self) -> Standstill | None:
        """Messages that wait although there are threads for them, for too long."""
        reserved, now = len(state.reserved_requests), self._monotonic()
        taken = (state.all_total_count[0], reserved)
        busy = reserved >= self._worker.concurrency  # as Celery decides whether to take more, without prefetching
        if taken != self._taken or busy or not self._messages():
            self._taken, self._waiting_since = taken, None
            return None
        if self._waiting_since is None:
            self._waiting_since = now
        if now - self._waiting_since < STALLED_SECONDS:
            return None
        return Standstill(
            "It takes nothing from its queues, though messages wait and it has threads for them.", wants_restart=True
        )

    def _messages(self) -> int:
        with self._worker.app.pool.acquire(block=True, timeout=2) as connection:
            return sum(_waiting(connection.default_channel, queue) for queue in self._queues)


def _waiting(channel: Any, queue: str) -> int:
    try:
        return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except ChannelError:  # a list that is empty is not there
        return 0


class Watchdog:
    """Ends a worker whose standstill lasts and wants a new start.

    Args:
        end: ends the worker; see ``end_this_process``.
        monotonic: a clock in seconds.
    """

    def __init__(
        self,
        standstill: Callable[[], Standstill | None],
        *,
        end: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._standstill = standstill
        self._end = end
        self._monotonic = monotonic
        self._since: float | None = None

    def start(self) -> None:
        """Look every few seconds, in a thread of its own, as long as the process lives."""
        threading.Thread(target=self._look_forever, name="watchdog", daemon=True).start()

    def look(self) -> bool:
        """Look once; returns whether the worker was ended."""
        standstill, now = self._standstill(), self._monotonic()
        if standstill is None or not standstill.wants_restart:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        if now - self._since < PATIENCE_SECONDS:
            return False
        _log.error("worker.consumes_nothing", detail=standstill.sentence)
        self._end()
        return True

    def _look_forever(self) -> None:
        while not self.look():
            time.sleep(_LOOK_SECONDS)


def end_this_process() -> None:
    """Ask this process to hand its work over and leave, and make it leave if it does not."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LEAVE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
