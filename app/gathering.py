"""Questions that come one by one, answered many at once: while one round is under way, the next one gathers.

What a thousand logins ask of a store costs a round trip, a transaction and a thread's turn each; gathered, they share them.
Nobody waits for company: a question that comes alone is a round of one, at once.
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
        self._rounds: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Reply:
        """Ask in the next round. Cancelled before that, the question is not asked.

        Raises:
            whatever ``answer`` found or raised.
        """
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, reply))
        if self._rounds is None:
            # In a context of its own: what it logs is not about whoever happened to ask first, nor a part of their trace.
            self._rounds = asyncio.create_task(self._go_round(), context=Context())
        return await reply

    async def _go_round(self) -> None:
        try:
            while self._waiting:
                now, self._waiting = self._waiting[: self._at_once], self._waiting[self._at_once :]
                await self._hold_round([each for each in now if not each[1].done()])
        finally:
            self._rounds = None
            for _, reply in self._waiting:  # the loop is ending
                reply.cancel()

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

    async def do(self, *command: Any) -> Any:
        """Carry out one command.

        Raises:
            RedisError, OSError: Redis is away, or says no.
        """
        return (await self.do_all(command))[0]

    async def do_all(self, *commands: Command) -> list[Any]:
        """Carry out commands one after the other; their answers.

        Raises:
            RedisError, OSError: Redis is away, or says no to one of them: the others were carried out then.
        """
        return await self._rounds.ask(commands)

    async def _carry_out(self, asked: Sequence[Sequence[Command]]) -> list[list[Any] | Exception]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for command in chain.from_iterable(asked):
                pipeline.execute_command(*command)
            answers = iter(await pipeline.execute(raise_on_error=False))
        return [_whole([next(answers) for _ in commands]) for commands in asked]


def _whole(answers: list[Any]) -> list[Any] | Exception:
    return next((each for each in answers if isinstance(each, Exception)), answers)
