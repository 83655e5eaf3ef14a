"""Two hundred sessions, leased and validated at random: no auth key is ever used by two, nor without a pause.

Runs 8 s; MIX_SECONDS=60 makes it the full minute.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.sessions.planning import VALIDATE_BATCH_TASK, plan_validations
from latchkey_client import AsyncLatchkey, LeaseLost, SessionLeased
from tests.client.served import ServedWeb
from tests.sessions.conftest import StageMaker
from tests.sessions.stage import Stage

SECONDS = float(os.environ.get("MIX_SECONDS", "8"))
SESSIONS, HOLDERS = 200, 12


class Validator(threading.Thread):
    """Beat and the background worker in one: plans, and runs what was planned."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(daemon=True)
        self.outcomes: Counter[str] = Counter()
        self._stage = stage
        self._over = threading.Event()

    def run(self) -> None:
        """Go on until stopped."""
        with ThreadPoolExecutor(3) as pool:
            while not self._over.wait(0.2):
                plan_validations(self._stage.core)
                batches, self._stage.sent.tasks[:] = list(self._stage.sent.tasks), []
                for task, ticket, *session_ids in batches:
                    assert task == VALIDATE_BATCH_TASK
                    pool.submit(self._run_batch, ticket, session_ids)

    def stop(self) -> None:
        """Plan no more, and wait for what is under way."""
        self._over.set()
        self.join(60)

    def _run_batch(self, ticket: str, session_ids: list[str]) -> None:
        self.outcomes += self._stage.run_batch(ticket, session_ids)


async def use_at_random(latchkey: AsyncLatchkey, session_ids: list[str], holder: str, seconds: float) -> Counter[str]:
    """Lease one session after the other, and do a little with each; some blocks fail, some are cancelled."""
    outcomes: Counter[str] = Counter()
    stop_at = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < stop_at:
        try:
            async with asyncio.timeout(random.choice((0.5, 10, 10, 10))):
                async with latchkey.lease(random.choice(session_ids), holder=holder, ttl_seconds=10) as client:
                    for _ in range(random.randint(0, 3)):
                        await client.get_me()
                    _ = ["nine times of ten"][random.random() < 0.1]  # the holder's own trouble, now and then
            outcomes["used"] += 1
        except SessionLeased:
            outcomes["leased"] += 1
        except (IndexError, TimeoutError):
            outcomes["broken off"] += 1
        except LeaseLost:  # a machine so busy that no renewal came through: the safe end, and a rare one
            outcomes["lost"] += 1
    return outcomes


@pytest.mark.timeout(SECONDS + 150)
def test_no_auth_key_is_ever_used_by_two(make_stage: StageMaker) -> None:
    """Leases of the client package, the validator's own, and their ends of every kind, mixed at random."""
    stage = make_stage(validation_interval_seconds=3)
    session_ids = stage.connect_many(SESSIONS)
    validator = Validator(stage)

    async def use_all(latchkey: AsyncLatchkey) -> Counter[str]:
        holders = (use_at_random(latchkey, session_ids, f"bot-{number}", SECONDS) for number in range(HOLDERS))
        return sum(await asyncio.gather(*holders), Counter())

    with ServedWeb(stage.settings) as web:
        validator.start()
        used = asyncio.run(use_all(web.latchkey(stage.api_key())))
        validator.stop()

    assert stage.violations() == {}
    assert {stage.row(each).status for each in session_ids} == {"active"}
    assert used["used"] > SECONDS
    assert used["broken off"] > 0
    assert used["lost"] < used["used"] / 10
    assert set(validator.outcomes) == {"ok"}
    assert validator.outcomes["ok"] > 2 * SECONDS
