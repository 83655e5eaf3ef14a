"""Questions that come one by one, answered many at once: while one round is under way, the next one gathers.

What a thousand logins ask of a store costs a round trip, a transaction and a thread's turn each; gathered, they share them.
Nobody has to wait for company: a question that comes alone is a round of one, at once. Who is in no hurry says so, and shares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from itertools import chain
from typing import Any, Generic, TypeVar

from redis.asyncio import Redis

Question = TypeVar("Question")
Reply = TypeVar("Reply")

_AT_ONCE = 200


class Gathering(Generic[Question, Reply]):
    """See the module. Lives on the loop.

    Args:
        answer: answers a round's questions, in their order; an exception among the answers is raised for who asked it, one that
            it raises for all.
    """

    def __init__(
        self, answer: Callable[[Sequence[Question]], Awaitable[Sequence[Reply | Exception]]], *, at_once: int = _AT_ONCE
    ) -> None:
        self._answer = answer
        self._at_once = at_once
        self._waiting: list[tuple[Question, asyncio.Future[Reply]]] = []
        self._is_due = False  # a round for those who wait
        self._timer: asyncio.TimerHandle | None = None  # makes it due for those who are in no hurry
        self._rounds: asyncio.Task[None] | None = None

    async def ask(self, question: Question, *, patience_seconds: float = 0.0) -> Reply:
        """Ask in the next round. Cancelled before that, the question is not asked.

        Args:
            patience_seconds: for how long it may wait for others, if nobody makes a round before.

        Raises:
            whatever ``answer`` found or raised.
        """
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Reply] = loop.create_future()
        self._waiting.append((question, reply))
        if patience_seconds <= 0.0:
            self._go()
        elif self._timer is None:
            self._timer = loop.call_later(patience_seconds, self._lose_patience)
        return await reply

    def _lose_patience(self) -> None:
        self._timer = None
        if self._waiting:
            self._go()

    def _go(self) -> None:
        self._is_due = True
        if self._rounds is None:
            # In a context of its own: what it logs is not about whoever happened to ask first, nor a part of their trace.
            self._rounds = asyncio.create_task(self._go_round(), context=Context())

    async def _go_round(self) -> None:
        try:
            while self._is_due:
                now, self._waiting = self._waiting[: self._at_once], self._waiting[self._at_once :]
                self._is_due = bool(self._waiting)
                await self._hold_round([each for each in now if not each[1].done()])
        except BaseException:
            for _, reply in self._waiting:  # the loop is ending
                reply.cancel()
            raise
        finally:
            self._rounds = None

    async def _hold_round(self, asked: list[tuple[Question, asyncio.Future[Reply]]]) -> None:
        if not asked:
            return
        try:
            replies = await self._answer([question for question, _ in asked])
        except Exception as exc:  # noqa: BLE001  # it is raised: for each of those who asked
            replies = [exc] * len(asked)
        except BaseException:
            for _, reply in asked:
                reply.cancel()
            raise
        for (_, reply), told in zip(asked, replies, strict=True):
            if reply.done():
                continue
            if isinstance(told, Exception):
                reply.set_exception(told)
            else:
                reply.set_result(told)


Command = tuple[Any, ...]
"""A Redis command, as ``execute_command`` of redis-py takes it."""


class RedisRounds:
    """Redis commands that share pipelines. Lives on the loop."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._rounds = Gathering[Sequence[Command], list[Any]](self._carry_out)

    async def do(self, *command: Any, patience_seconds: float = 0.0) -> Any:
        """Carry out one command.

        Args:
            patience_seconds: as in ``Gathering.ask``.

        Raises:
            RedisError, OSError: Redis is away, or says no.
        """
        return (await self.do_all(command, patience_seconds=patience_seconds))[0]

    async def do_all(self, *commands: Command, patience_seconds: float = 0.0) -> list[Any]:
        """Carry out commands one after the other; their answers.

        Args:
            patience_seconds: as in ``Gathering.ask``.

        Raises:
            RedisError, OSError: Redis is away, or says no to one of them: the others were carried out then.
        """
        return await self._rounds.ask(commands, patience_seconds=patience_seconds)

    async def _carry_out(self, asked: Sequence[Sequence[Command]]) -> list[list[Any] | Exception]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for command in chain.from_iterable(asked):
                pipeline.execute_command(*command)
            answers = iter(await pipeline.execute(raise_on_error=False))
        return [_whole([next(answers) for _ in commands]) for commands in asked]


def _whole(answers: list[Any]) -> list[Any] | Exception:
    return next((each for each in answers if isinstance(each, Exception)), answers)
