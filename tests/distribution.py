"""Which process of a run gets which tests: files as a whole, whole stacks two at a time, nothing long at the end.

Most tests wait (for a token to die, for a flood wait to pass), so more processes than cores are busy with them; those of
a whole stack work, so more than two would only stand in each other's way. The first two processes therefore begin with
stacks, the last with the shortest files, so that a simple mistake is seen soon, and those between with the longest.

How long a file takes stands in `lengths.json`: ``make test ARGS=--write-lengths`` on a quiet machine writes it anew.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

# Folders whose tests start whole stacks.
STACK_FOLDERS = ("chaos", "devstack", "docsite", "stack")
# Folders whose files share what takes long to start: one process runs them one after the other.
_SHARING_FOLDERS = frozenset({"tests/stack"})
_STACKS_AT_ONCE = 2

_LENGTHS = Path(__file__).with_name("lengths.json")
_WRITE = "--write-lengths"
_SHORT_SECONDS = 1.0  # a file that takes less is not in the table


class Distribution(LoadFileScheduling):
    """Hands the next file to a process that is about to finish its last one."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        self._lengths: Counter[str] = Counter()
        for file, seconds in json.loads(_LENGTHS.read_text()).items():
            self._lengths[self._split_scope(file)] += seconds

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        folder = file.rpartition("/")[0]
        return folder if folder in _SHARING_FOLDERS else file

    def _reschedule(self, node: WorkerController) -> None:
        # The library's own would reserve a file two tests ahead, which may be a minute; one is what a process needs.
        if not self.workqueue or self._pending_of(self.assigned_work[node]) <= 1:
            super()._reschedule(node)

    def _assign_work_unit(self, node: WorkerController) -> None:
        self.workqueue.move_to_end(self._next_for(node), last=False)
        super()._assign_work_unit(node)

    def _next_for(self, node: WorkerController) -> str:
        number = int(node.gateway.id.removeprefix("gw"))
        wants_stacks = number < _STACKS_AT_ONCE
        wanted = [scope for scope in self.workqueue if _starts_stacks(scope) == wants_stacks] or list(self.workqueue)
        shortest_first = not wants_stacks and number == self.numnodes - 1
        found: str = (min if shortest_first else max)(wanted, key=self._lengths.__getitem__)
        return found


def _starts_stacks(scope: str) -> bool:
    return any(folder in scope.split("/") for folder in STACK_FOLDERS)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that measures."""
    parser.addoption(_WRITE, action="store_true", help=f"write how long each file took into {_LENGTHS.name}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Distribution | None:
    """Distribute files our way."""
    return Distribution(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_configure(config: pytest.Config) -> None:
    """Measure, where that is asked for: in the process that hears of all tests."""
    if config.getoption(_WRITE) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Lengths())


class _Lengths:
    """Adds up how long each file takes."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid.partition("::")[0]] += report.duration

    def pytest_sessionfinish(self) -> None:
        table = {file: round(seconds) for file, seconds in sorted(self._seconds.items()) if seconds >= _SHORT_SECONDS}
        _LENGTHS.write_text(json.dumps(table, indent=1) + "\n")
