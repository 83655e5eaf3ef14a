"""Questions that share rounds: nobody waits for company, and each gets its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import ResponseError

from app.core import Core
from app.correlation import begin, correlation
from app.gathering import Gathering, RedisRounds
from app.redis_state import make_async_redis


class Doubler:
    """Doubles numbers, a round at a time; odd ones fail."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def answer(self, numbers: Sequence[int]) -> list[int | Exception]:
        """A round."""
        self.rounds.append(list(numbers))
        await self.may_answer.wait()
        return [ValueError(str(number)) if number % 2 else 2 * number for number in numbers]


def test_what_comes_during_a_round_makes_the_next_one() -> None:
    """The first question goes at once, alone; the others go together, and each has its own answer or failure."""

    async def check() -> None:
        doubler = Doubler()
        doubler.may_answer.clear()
        gathering = Gathering(doubler.answer)
        first = asyncio.create_task(gathering.ask(2))
        await asyncio.sleep(0)
        others = [asyncio.create_task(gathering.ask(number)) for number in (4, 5, 6)]
        await asyncio.sleep(0)
        others[2].cancel()
        doubler.may_answer.set()
        assert await first == 4
        assert await others[0] == 8
        with pytest.raises(ValueError, match="5"):
            await others[1]
        assert await gathering.ask(8) == 16
        assert doubler.rounds == [[2], [4, 5], [8]]

    asyncio.run(check())


def test_who_is_patient_shares_a_round_and_who_is_not_makes_one() -> None:
    """The patient wait for each other, also during a round; one in a hurry takes them along at once."""

    async def check() -> None:
        doubler = Doubler()
        gathering = Gathering(doubler.answer)
        assert await asyncio.gather(*(gathering.ask(number, patience_seconds=0.05) for number in (2, 4, 6))) == [
            4,
            8,
            12,
        ]
        assert await gathering.ask(8, patience_seconds=0.05) == 16
        async with asyncio.timeout(5):
            patient = asyncio.create_task(gathering.ask(10, patience_seconds=60.0))
            await asyncio.sleep(0)
            assert await gathering.ask(12) == 24
            assert await patient == 20
        doubler.may_answer.clear()
        hurried = asyncio.create_task(gathering.ask(14))
        await asyncio.sleep(0)
        later = [asyncio.create_task(gathering.ask(number, patience_seconds=0.05)) for number in (16, 18)]
        await asyncio.sleep(0)
        doubler.may_answer.set()
        assert await asyncio.gather(hurried, *later) == [28, 32, 36]
        assert doubler.rounds == [[2, 4, 6], [8], [10, 12], [14], [16, 18]]

    asyncio.run(check())


def test_a_round_that_fails_fails_for_all_and_the_next_one_goes_on() -> None:
    """What the store raises reaches everybody who asked in that round."""

    async def check() -> None:
        broken = [True]

        async def answer(numbers: Sequence[int]) -> Sequence[int | Exception]:
            await asyncio.sleep(0)
            if broken:
                raise ConnectionError("away")
            return numbers

        gathering = Gathering(answer)
        told = await asyncio.gather(*(gathering.ask(number) for number in range(3)), return_exceptions=True)
        assert [type(each) for each in told] == [ConnectionError] * 3
        broken.clear()
        assert await gathering.ask(7) == 7

    asyncio.run(check())


def test_redis_answers_each_of_those_who_share_a_pipeline(core: Core) -> None:
    """A command that Redis refuses fails alone."""

    async def use(client: redis.asyncio.Redis) -> list[Any]:
        rounds = RedisRounds(client)
        await rounds.do("SET", "a-list-it-is-not", "x", "PX", 5000)
        answers: list[Any] = await asyncio.gather(
            rounds.do_all(("PTTL", "nothing-there"), ("GET", "a-list-it-is-not")),
            rounds.do("LPUSH", "a-list-it-is-not", "y"),
            rounds.do("EXISTS", "a-list-it-is-not"),
            return_exceptions=True,
        )
        return answers

    async def check() -> None:
        async with make_async_redis(core.settings.redis_url) as client:
            both, refused, exists = await use(client)
        assert both == [-2, b"x"]
        assert isinstance(refused, ResponseError)
        assert exists == 1

    asyncio.run(check())


def test_a_round_is_about_nobody() -> None:
    """Its lines are not those of whoever happened to ask first: it works for all of them."""
    seen: list[dict[str, str]] = []

    async def answer(numbers: Sequence[int]) -> list[int | Exception]:
        seen.append(dict(correlation()))
        return list(numbers)

    async def check() -> None:
        begin(login_id="lgn_1")
        assert await Gathering(answer).ask(1) == 1
        assert correlation() == {"login_id": "lgn_1"}

    asyncio.run(check())
    assert seen == [{}]
