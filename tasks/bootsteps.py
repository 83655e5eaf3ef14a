"""What a worker process has beside its tasks: its parts, its port for operators, and its leave-taking.

Celery's threads pool is one process and never fires ``worker_process_init``; bootsteps of the worker's blueprint start and
stop in a known order instead.
"""

from __future__ import annotations

from typing import Any

from celery import bootsteps

from app.checks import make_checks
from app.core import Core, build_core
from app.dispatch import make_dispatch
from app.logins.worker import LoginWorker
from app.metrics_tenants import know_tenants
from app.readiness import Check, Readiness
from app.telegram.process import TelegramParts, start_telegram, stop_telegram
from app.tracing import start_tracing
from tasks.consuming import Consumption, Watchdog, end_this_process
from tasks.operators import OperatorsServer


class ProcessParts:
    """The parts of this worker process, for its tasks: set by ``Parts`` before the first task comes."""

    core: Core
    telegram: TelegramParts
    logins: LoginWorker


parts = ProcessParts()


class Parts(bootsteps.StartStopStep):
    """Builds the parts before the worker consumes, and ends the loop thread when no task uses it any more."""

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        """Build everything before the first task comes: Celery starts its consumer last."""
        settings = worker.app.settings
        parts.core = build_core(settings, role=worker.hostname, dispatch=make_dispatch(worker.app))
        know_tenants(parts.core.transaction, parts.core.metrics.tenants)
        parts.telegram = start_telegram(settings, parts.core.metrics)
        if (provider := start_tracing(settings, role="worker")) is not None:
            from tasks.tracing import trace_tasks

            trace_tasks(provider, parts.core, parts.telegram)
        parts.logins = LoginWorker(parts.core, parts.telegram)

    def stop(self, worker: Any) -> None:
        """Wait for the tasks in hand, then end what they stand on."""
        # This step stops before the pool, which it requires; the pool is asked early, and the second time it has nothing to do.
        worker.pool.stop()
        self.terminate(worker)

    def terminate(self, worker: Any) -> None:
        """End the loop thread, whatever still runs on it."""
        parts.logins.stop()
        stop_telegram(parts.telegram)


class MetricsServer(bootsteps.StartStopStep):
    """Serves operators on ``METRICS_HOST``:``METRICS_PORT``, when a port is set; ends a worker that takes nothing any more."""

    requires = (Parts,)
    server: OperatorsServer | None = None

    def start(self, worker: Any) -> None:
        """Start the server's thread."""
        core, consumption = parts.core, Consumption(worker)
        consumption.follow()
        Watchdog(consumption.standstill, end=end_this_process).start()
        if core.settings.metrics_port is None:
            return
        checks = make_checks(core) | {"consuming": Check(consumption.ask)}
        del checks["login_workers"]  # another process's business
        self.server = OperatorsServer(
            core.settings.metrics_host,
            core.settings.metrics_port,
            registry=core.registry,
            readiness=Readiness(checks),
        )

    def stop(self, worker: Any) -> None:
        """Close the port."""
        if self.server is not None:
            self.server.close()


class DrainLogins(bootsteps.StartStopStep):
    """On SIGTERM: make the logins in hand go elsewhere, after consuming has stopped and before ``Parts`` waits for tasks."""

    requires = (Parts,)

    def stop(self, worker: Any) -> None:
        """Each task publishes itself again and returns."""
        parts.logins.drain()
