"""A sandbox in this process, some of whose answers are the test's own: other servers need not be like ours."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sandbox import tl
from sandbox.driver import SandboxDriver
from sandbox.mtproto.call import gzip_packed
from sandbox.server import Options, Sandbox
from sandbox.telegram.dispatcher import Dispatcher
from sandbox.telegram.model import Account, Device

types = tl.types

Change = Callable[[Any], Any]
"""Makes another answer of the sandbox's own."""


class _OddDispatcher(Dispatcher):
    """Answers as the sandbox does, but for what the test changes."""

    changes: dict[str, list[Change]]

    def _result_of(self, device: Device, request: Any) -> Any:
        answer = super()._result_of(device, request)
        waiting = self.changes.get(tl.method_name(request))
        return waiting.pop(0)(answer) if waiting else answer


class OddTelegram(Sandbox):
    """A sandbox with changes to come.

    Args:
        changes: for each method, what to make of its next answers, in their order.
        push: what to send instead of the update that says that a token was accepted.
    """

    def __init__(self, options: Options, *, changes: dict[str, list[Change]], push: bytes | None) -> None:
        super().__init__(options)
        self._push = push
        odd = _OddDispatcher(self.dispatcher._services, faults=self.faults, violations=self.violations)
        odd.changes = changes
        self.dispatcher = odd

    def _push_login_token(self, device: Device, account: Account) -> None:
        if self._push is None:
            super()._push_login_token(device, account)
            return
        for session in device.auth_key.all_sessions():
            session.send(self._push, content_related=True, now=True)


def updates_in_every_form() -> dict[str, bytes]:
    """updateLoginToken as a server may wrap it."""
    now, update = tl.types.UpdateShort(types.UpdateLoginToken(), None).date, types.UpdateLoginToken()
    short = bytes(types.UpdateShort(update, now))
    return {
        "updateShort": short,
        "updates": bytes(types.Updates([update], [], [], now, 0)),
        "updatesCombined": bytes(types.UpdatesCombined([update], [], [], now, 0, 0)),
        "gzip_packed": gzip_packed(short),
    }


@contextmanager
def odd_telegram(
    folder: Path, *, listens_on: str = "127.0.0.1", push: bytes | None = None, **changes: list[Change]
) -> Iterator[tuple[OddTelegram, SandboxDriver]]:
    """Run one in a thread; methods are named with two underscores for the dot, as in ``help__getConfig``."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> tuple[OddTelegram, dict[str, Any]]:
        named = {name.replace("__", "."): each for name, each in changes.items()}
        made = OddTelegram(Options(public_key_file=folder / "odd.pub.pem", host=listens_on), changes=named, push=push)
        return made, await made.start()

    telegram, ready = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield telegram, SandboxDriver(ready["control"])
    finally:
        asyncio.run_coroutine_threadsafe(telegram.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
