"""What a failed test says of its stack: the folder with the logs is gone when the run is over."""

from __future__ import annotations

import pytest

from devstack.running import RunningStack

_LAST_LINES = 60


def add_logs(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add to a failed test's report what the stack's processes logged last."""
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.when == "call" and report.failed and isinstance(stack, RunningStack):
        for log in sorted((stack.folder / "logs").glob("*.log")):
            lines = [line for line in log.read_text(errors="replace").splitlines() if '"path": "/metrics"' not in line]
            report.sections.append((f"end of {log.name}", "\n".join(lines[-_LAST_LINES:])))
