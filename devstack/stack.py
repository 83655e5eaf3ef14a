"""The whole stack: what is started after what, what it writes about itself, and how it ends.

`stack.json` in its folder tells programs where everything is, `env` tells shells. Both hold secrets and are private
files; they exist while the stack is ready, and stack.json follows every restart.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Collection, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from devstack import roles, stackfile
from devstack.configuration import (
    BUCKET,
    DATABASE,
    KMS_ALIAS,
    OWNER_SETTING,
    TENANT,
    Configuration,
    configure,
    redis_passwords,
)
from devstack.errors import SetupError
from devstack.folder import FolderLock, empty_logs
from devstack.postgres import prepare_postgres
from devstack.programs import Program
from devstack.redis import redis_program
from devstack.supervisor import Report, Supervisor, run_once

OPTIONAL_PARTS = frozenset({"flower", "exporter", "s3"})

# Nobody may be left talking to something that is gone: what serves people ends first, what holds data last.
_STOP_ORDER = (("web", "beat", "flower", "exporter"), ("worker-",), ("sandbox", "s3"), ("redis", "postgres"))


class Stack:
    """A running stack, for the length of an ``async with`` block.

    Args:
        folder: its data, logs and description; what a former stack left there is taken up.
        given: settings, as in the contract; the stack's own stores replace those that it names.
        report: told what starts, gets ready, dies.
        without: parts to leave out, of ``OPTIONAL_PARTS``.

    Raises (on entering):
        SetupError: it cannot run here; everything that was started has ended.
    """

    def __init__(
        self, folder: Path, *, given: Mapping[str, str], report: Report, without: Collection[str] = ()
    ) -> None:
        if unknown := set(without) - OPTIONAL_PARTS:
            raise SetupError(f"Only {', '.join(sorted(OPTIONAL_PARTS))} can be left out, not {', '.join(unknown)}.")
        self.folder = folder.resolve()
        self.supervisor = Supervisor(report=report, changed=self._describe)
        self._given = given
        self._report = report
        self._without = set(without) if roles.EXPORTER_PYTHON.exists() else {*without, "exporter"}
        self._lock = FolderLock(self.folder)
        self._api_keys: stackfile.ApiKeys | None = None
        self._is_ready = False
        self.configuration: Configuration
        self._place: roles.Place

    async def __aenter__(self) -> Stack:
        self._lock.take()
        try:
            empty_logs(self.folder)
            self.configuration = configure(self.folder, self._given)
            # Only migrations work as the owner of the tables.
            shared = {name: value for name, value in self.configuration.environment.items() if name != OWNER_SETTING}
            self._place = roles.Place(
                folder=self.folder, environment=shared, settings=frozenset(self.configuration.settings)
            )
            await _together(self._start_stores_then_roles(), self._start_object_store())
        except BaseException:
            await self._end()
            raise
        self._is_ready = True
        self._describe()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def description(self) -> dict[str, Any]:
        """The contents of stack.json."""
        return stackfile.describe(self.configuration, keys=self._api_keys, pids=self.supervisor.pids, tenant=TENANT)

    async def _start_stores_then_roles(self) -> None:
        await _together(self._start_postgres(), self._start_redis(), self._start_sandbox())
        await self._step("database", self._fill_database())
        await _together(*(self.supervisor.start(program) for program in self._roles()))

    async def _start_postgres(self) -> None:
        server = await asyncio.to_thread(
            prepare_postgres, self.folder, port=self.configuration.ports["postgres"], log=self._place.log("postgres")
        )
        await self.supervisor.start(server.program)
        await asyncio.to_thread(server.create_database, DATABASE)

    async def _start_redis(self) -> None:
        port, log = self.configuration.ports["redis"], self._place.log("redis")
        program = redis_program(self.folder / "redis", port=port, log=log, passwords=redis_passwords(self.folder))
        await self.supervisor.start(program)

    async def _start_sandbox(self) -> None:
        if ports := self.configuration.sandbox_ports:
            key_file = Path(self.configuration.telegram.public_key_file)
            await self.supervisor.start(roles.sandbox(self._place, ports=ports, public_key_file=key_file))

    async def _start_object_store(self) -> None:
        if "s3" not in self._without:
            port = self.configuration.ports["s3"]
            await self.supervisor.start(roles.object_store(self._place, port=port, bucket=BUCKET, key_alias=KMS_ALIAS))

    def _roles(self) -> list[Program]:
        place, decided = self._place, self.configuration
        metrics = decided.worker_metrics
        workers = [
            roles.login_worker(place, number=number, metrics_port=metrics[f"worker-logins-{number}"])
            for number in range(1, decided.login_workers + 1)
        ]
        found = [
            roles.web(place, port=decided.ports["web"]),
            *workers,
            roles.background_worker(place, metrics_port=metrics["worker-background-1"]),
            roles.beat(place, metrics_port=decided.beat_metrics),
            roles.flower(place, port=decided.ports["flower"], broker_url=decided.redis_watcher_url),
            roles.exporter(place, port=decided.ports["exporter"], broker_url=decided.redis_watcher_url),
        ]
        return [program for program in found if program.name not in self._without]

    async def _fill_database(self) -> None:
        """Make the tables, the tenant and its keys, which are shown once: a later stack in this folder finds them in a file."""
        kept = stackfile.kept_api_keys(self.folder)
        if kept is None:
            create_key = ("api-key", "create", "--tenant", TENANT, "--json", "--scopes")
            _, _, *shown = await self._app(
                ("migrate",),
                ("tenant", "create", TENANT, "--name", "Demo"),
                *((*create_key, scopes) for scopes in stackfile.SCOPES),
            )
            kept = stackfile.keep_api_keys(self.folder, *(json.loads(each)["key"] for each in shown))
        else:
            await self._app(("migrate",))
        self._api_keys = kept

    async def _step(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        began = time.monotonic()
        self._report.starting(name)
        await work
        self._report.ready(name, time.monotonic() - began)

    async def _app(self, *commands: tuple[str, ...]) -> list[str]:
        """Run commands of ``python -m app``; what each has printed."""
        printed: list[str] = json.loads(
            await run_once(
                (sys.executable, "-m", "devstack.app_commands", json.dumps(commands)),
                folder=self.folder,
                environment=self.configuration.environment,
                what=f"python -m app {commands[0][0]}",
            )
        )
        return printed

    def _describe(self) -> None:
        if self._is_ready:
            stackfile.write(self.folder, self.description, settings=self.configuration.settings)

    async def _end(self) -> None:
        self._is_ready = False
        stackfile.remove(self.folder)
        for names in _STOP_ORDER:
            await self.supervisor.stop([name for name in self.supervisor.pids if name.startswith(names)])
        self._lock.release()


async def _together(*work: Coroutine[Any, Any, object]) -> None:
    """Do all of it at once; the first failure ends the rest and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in work:
                group.create_task(part)
    except* Exception as failures:  # noqa: BLE001  # raised again, without the group
        raise failures.exceptions[0] from None
