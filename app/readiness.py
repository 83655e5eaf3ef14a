"""Whether this process can serve: each dependency asked, in at most two seconds, however often we are asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from app.errors import AppError
from app.logs import get_logger

_log = get_logger(__name__)

LIMIT_SECONDS = 2.0


class Check(NamedTuple):
    """One question to one dependency.

    Args:
        ask: returns what it found, in a word or two; raises when the dependency is down.
        needed: whether this process cannot serve without it.
    """

    ask: Callable[[], str]
    needed: bool = True


class Readiness:
    """Asks all checks at once. A check that hangs is not asked a second time before it has come back."""

    def __init__(self, checks: Mapping[str, Check], *, limit_seconds: float = LIMIT_SECONDS) -> None:
        self._checks = checks
        self._limit_seconds = limit_seconds
        self._asked: dict[str, Future[str]] = {}
        self._threads = ThreadPoolExecutor(max_workers=len(checks), thread_name_prefix="readiness")

    def look(self) -> tuple[bool, dict[str, dict[str, object]]]:
        """Ask every dependency.

        Returns:
            Whether all that is needed answers, and what each one said.
        """
        for name, check in self._checks.items():
            before = self._asked.get(name)
            # What came back after an earlier look had given up on it is old news.
            if before is None or before.done():
                self._asked[name] = self._threads.submit(check.ask)
        asked = dict(self._asked)
        wait(asked.values(), timeout=self._limit_seconds)
        found = {name: self._report(name, future) for name, future in asked.items()}
        return all(report["ok"] for report in found.values() if report["needed"]), found

    def _report(self, name: str, future: Future[str]) -> dict[str, object]:
        needed = self._checks[name].needed
        if not future.done():
            return {"ok": False, "needed": needed, "found": f"no answer within {self._limit_seconds:g} s"}
        error = future.exception()
        if error is None:
            return {"ok": True, "needed": needed, "found": future.result()}
        log = _log.warning if needed else _log.debug
        log("readiness.down", dependency=name, error=f"{type(error).__name__}: {error}")
        # Our own errors are for callers too; a library's may name hosts and accounts, which is for the log.
        found = error.detail if isinstance(error, AppError) else type(error).__name__
        return {"ok": False, "needed": needed, "found": found}
