"""When a worker that is up takes nothing any more: what its health check goes by."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest
from celery import Celery
from celery.worker import state


class Clock:
    """Seconds that pass when they are told to."""

    seconds = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.seconds


@pytest.fixture
def consuming(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, which like all tasks can be imported only where there are settings."""
    settings = {
        "DATABASE_URL": "postgresql://x@y/z",
        "REDIS_URL": redis_url,
        "TELEGRAM_API_ID": "1",
        "TELEGRAM_API_HASH": "x",
        "KEY_PROVIDER": "aws-kms",
        "KMS_KEY_ID": "alias/x",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return importlib.import_module("tasks.consuming")


@pytest.fixture
def worker(redis_url: str) -> Iterator[SimpleNamespace]:
    """What Celery knows of a worker that consumes from a real broker, in which a message waits."""
    app = Celery(broker=redis_url, set_as_current=False)
    app.amqp.queues.select(["logins"])
    app.send_task("latchkey.run_qr_login", args=("lgn_waits",), queue="logins")
    consumer = SimpleNamespace(task_consumer=SimpleNamespace(consuming_from=lambda queue: queue == "logins"))
    yield SimpleNamespace(app=app, consumer=consumer, concurrency=2)
    app.close()


def test_messages_that_wait_beside_free_threads_are_a_standstill(
    consuming: ModuleType, worker: SimpleNamespace
) -> None:
    """Not at once: another worker may take them. Whoever takes something is well."""
    clock = Clock()
    consumption = consuming.Consumption(worker, monotonic=clock)

    def after(seconds: float) -> str:
        clock.seconds += seconds
        consumption.tick()
        standstill = consumption.standstill()
        return standstill.sentence if standstill else ""

    assert after(0) == ""
    assert after(1) == ""
    assert after(consuming.STALLED_SECONDS - 1) == ""
    assert "takes nothing" in after(1)
    state.all_total_count[0] += 1
    assert after(0) == ""


def test_a_worker_without_free_threads_may_let_messages_wait(consuming: ModuleType, worker: SimpleNamespace) -> None:
    """A thousand logins in hand are no standstill."""
    clock = Clock()
    worker.concurrency = 0
    consumption = consuming.Consumption(worker, monotonic=clock)
    for _ in range(3):
        clock.seconds += consuming.STALLED_SECONDS
        consumption.tick()
        assert consumption.standstill() is None


def test_a_loop_that_stands_still_is_noticed(consuming: ModuleType, worker: SimpleNamespace) -> None:
    """Its timer has not come for half a minute."""
    clock = Clock()
    consumption = consuming.Consumption(worker, monotonic=clock)
    clock.seconds += consuming.STALLED_SECONDS + 1
    assert consumption.standstill() == consuming.Standstill("Its loop stands still.", wants_restart=True)


@pytest.mark.parametrize(("wants_restart", "ends"), [(True, 1), (False, 0)])
def test_a_standstill_that_lasts_ends_the_worker_if_that_helps(
    consuming: ModuleType, *, wants_restart: bool, ends: int
) -> None:
    """Its supervisor starts it anew. A broker that is away, or a queue that an operator took from it, is no reason."""
    clock, ended = Clock(), []
    standstills = [consuming.Standstill("something", wants_restart=wants_restart)]
    watchdog = consuming.Watchdog(lambda: standstills[0], end=lambda: ended.append(clock()), monotonic=clock)
    watchdog.look()
    clock.seconds += consuming.PATIENCE_SECONDS - 1
    watchdog.look()
    assert ended == []
    clock.seconds += 1
    watchdog.look()
    assert len(ended) == ends


def test_a_standstill_that_passes_ends_nobody(consuming: ModuleType) -> None:
    """Patience begins anew with each standstill."""
    clock, ended = Clock(), []
    standstills = [consuming.Standstill("something", wants_restart=True)]
    watchdog = consuming.Watchdog(lambda: standstills[0], end=lambda: ended.append(clock()), monotonic=clock)
    watchdog.look()
    for standstills[0] in (None, consuming.Standstill("something", wants_restart=True)):
        clock.seconds += consuming.PATIENCE_SECONDS
        watchdog.look()
    assert ended == []
