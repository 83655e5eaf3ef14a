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


def test_messages_that_wait_beside_free_threads_are_a_fault(consuming: ModuleType, worker: SimpleNamespace) -> None:
    """Not at once: another worker may take them. Whoever takes something is well."""
    clock = Clock()
    consumption = consuming.Consumption(worker, monotonic=clock)

    def after(seconds: float) -> str:
        clock.seconds += seconds
        consumption.tick()
        return consumption.fault() or ""

    assert after(0) == ""
    assert after(1) == ""
    assert after(consuming.STALLED_SECONDS - 1) == ""
    assert "takes nothing" in after(1)
    state.all_total_count[0] += 1
    assert after(0) == ""


def test_a_worker_without_free_threads_may_let_messages_wait(consuming: ModuleType, worker: SimpleNamespace) -> None:
    """A thousand logins in hand are no fault."""
    clock = Clock()
    worker.concurrency = 0
    consumption = consuming.Consumption(worker, monotonic=clock)
    for _ in range(3):
        clock.seconds += consuming.STALLED_SECONDS
        consumption.tick()
        assert consumption.fault() is None


def test_a_loop_that_stands_still_is_a_fault(consuming: ModuleType, worker: SimpleNamespace) -> None:
    """Its timer has not come for half a minute."""
    clock = Clock()
    consumption = consuming.Consumption(worker, monotonic=clock)
    clock.seconds += consuming.STALLED_SECONDS + 1
    assert consumption.fault() == "Its loop stands still."


def test_what_stays_wrong_beside_a_broker_that_answers_is_stuck(
    consuming: ModuleType, worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For two minutes; while the broker is away nothing is: another process would be no better off."""
    clock = Clock()
    consumption = consuming.Consumption(worker, monotonic=clock)
    worker.consumer.task_consumer = None
    assert consumption.stuck() is None
    clock.seconds += consuming.STUCK_SECONDS + 1
    assert "does not consume" in str(consumption.stuck())
    monkeypatch.setattr(consumption, "_broker_answers", lambda: False)
    assert consumption.stuck() is None
    monkeypatch.undo()
    assert consumption.stuck() is None, "from the moment that the broker is back"
