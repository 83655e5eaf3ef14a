"""Chaos as a habit: half a minute of it in every run of the suite; ``make chaos`` for more."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest

from chaos.run import Intensity, run


@pytest.mark.timeout(420)
def test_nobody_is_lost_while_faults_strike() -> None:
    """Every login ends as its story says, devices are sessions, no rule is broken, no secret lies anywhere."""
    intensity = Intensity(seconds=30, login_seconds=40, a_strike_every_seconds=8)
    with tempfile.TemporaryDirectory(prefix="latchkey-chaos-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # a run as root hands PostgreSQL to an account that has to walk through
        report = asyncio.run(run(4, intensity, folder=folder))
    told = [line for finding in report.findings if finding.person for line in report.story.of(finding.person)]
    assert [finding.text for finding in report.findings] == [], "\n".join(told)
    assert report.strikes > 0
    assert sum(report.endings.values()) > 10
