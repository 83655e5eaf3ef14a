"""Thousands of people in front of a QR code cost one stock worker process little, and none of them waits for another."""

from __future__ import annotations

import os
import signal
import time

import pytest

from app.clock import utc_now
from bench.crowd import crowd

WAITING = 2_000
SCANNED = 200


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_2000_wait_200_scan_at_once_and_the_worker_leaves_in_time() -> None:
    """Every code is renewed on time, every scan ends authorized, and SIGTERM hands 1,800 logins over."""
    with crowd(threads=WAITING + 100) as people:
        login_ids = people.gather(WAITING)
        people.wait_until_all("waiting_for_scan", WAITING, within_seconds=300)

        until = time.monotonic() + 45  # longer than a token lives: each code has been renewed at least once
        while time.monotonic() < until:
            # A code is renewed when it runs out; one that was not, well after that, is late.
            assert min((at - utc_now()).total_seconds() for at in people.latest_renewal()) > -5.0
            time.sleep(1.0)
        use = people.use_over(10.0)
        assert use.rss_bytes < 600 * 1024 * 1024

        people.scan(login_ids[:SCANNED])
        people.wait_until_all("authorized", SCANNED, within_seconds=90)
        violations = people.sandbox.driver.stats()["violations"]
        assert violations == {"flood_wait": 0, "parallel_auth_key": 0, "unpaced": 0}

        os.kill(people.worker.pid, signal.SIGTERM)
        people.worker.wait(30)  # 500 are the promise, within 10 s; this is three and a half times that
        assert people.count("waiting_for_scan") == WAITING - SCANNED
        assert people.queued() == WAITING - SCANNED
