"""A reader who does what a page says: saves its programs, types its commands, and scans when a QR code is shown."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from sqlalchemy import create_engine, text

from devstack.configuration import neutral_environment
from devstack.ports import free_port
from devstack.roles import ROOT
from devstack.running import RunningStack
from docsite.snippets import read_snippets
from sandbox.driver import SandboxRefusedError
from tests.stack.city import City

_LOOK_SECONDS = 0.1
_PORTS = ("5055", "5056", "5057")  # which the pages' own servers listen on; others may have them here


class Reader:
    """Somebody with a checkout, a running stack, and a page of the documentation.

    Args:
        desk: an empty folder: what is saved goes here, beside links to the checkout's own files.
        pages: read in this order; the commands of the last one are typed.
    """

    def __init__(self, stack: RunningStack, *, desk: Path, pages: Sequence[str]) -> None:
        self._desk = desk
        self._ports = {port: str(free_port()) for port in _PORTS}
        for page in pages:
            self._snippets = [snippet for snippet in read_snippets(ROOT / "docs" / page) if snippet.is_tested]
            self._save()
        for path in ROOT.iterdir():
            if path.name not in (".run", ".env", ".git"):
                (desk / path.name).symlink_to(path)
        (desk / ".run").symlink_to(stack.folder)

    def _save(self) -> None:
        for snippet in self._snippets:
            if snippet.title:
                (self._desk / snippet.title).write_text(self._on_free_ports(snippet.body), encoding="utf-8")

    def _on_free_ports(self, text: str) -> str:
        return re.sub("|".join(_PORTS), lambda found: self._ports[found[0]], text)

    def url(self, port: str) -> str:
        """Where a server of the page listens, that it says to be at this port."""
        return f"http://127.0.0.1:{self._ports[port]}"

    def run(self, *command: str) -> str:
        """Run one command in a terminal of its own, as the pages have it run; returns what it printed."""
        script = f"set -a; . .run/env; set +a; {shlex.join(command)}"
        ran = subprocess.run(
            ["bash", "-c", script],
            cwd=self._desk,
            env=neutral_environment(),
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return ran.stdout

    @property
    def typed(self) -> str:
        """What the page has the reader type, as one script that ends at the first failure."""
        blocks = [snippet.body for snippet in self._snippets if snippet.language == "sh"]
        return self._on_free_ports("\n".join(["set -euo pipefail", *blocks]))

    def type_all(self, *, within_seconds: float = 60) -> str:
        """Type all that the page says; returns what was printed.

        Raises:
            AssertionError: a command failed.
        """
        with self.typing() as terminal:
            said, _ = terminal.communicate(timeout=within_seconds)
        assert terminal.returncode == 0, said
        return said

    @contextlib.contextmanager
    def typing(self) -> Iterator[subprocess.Popen[str]]:
        """Type all that the page says, in a terminal that is closed when the block ends, whatever still runs in it."""
        terminal = subprocess.Popen(
            ["bash", "-c", self.typed],
            cwd=self._desk,
            env=neutral_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield terminal
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(terminal.pid).children(recursive=True):
                    child.kill()
            terminal.kill()
            terminal.communicate()


@contextlib.contextmanager
def somebody_who_scans(stack: RunningStack) -> Iterator[None]:
    """While the block runs, the newest account's phone scans whatever QR code is shown."""
    city, over, seen = City(stack), threading.Event(), set[str]()
    engine = create_engine(stack.description["database_url"])

    def scan_all() -> None:
        while not over.wait(_LOOK_SECONDS):
            with engine.connect() as connection:
                waiting = connection.execute(text("SELECT id FROM logins WHERE status = 'waiting_for_scan'")).scalars()
                new = [login_id for login_id in waiting if login_id not in seen]
            for login_id in new:
                qr, accounts = city.login(login_id).get("qr"), city.telegram.accounts()
                if qr and accounts:
                    with contextlib.suppress(SandboxRefusedError):
                        city.telegram.scan(accounts[-1]["id"], qr["url"])
                        seen.add(login_id)

    thread = threading.Thread(target=scan_all, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        engine.dispose()
        city.engine.dispose()
        city.redis.close()
