"""Answers of the user (password, code) on their way to Telegram: taken out of Redis once, opened, forgotten once judged."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta

from redis.exceptions import RedisError

from app.clock import utc_now
from app.errors import FloodWait, SealBroken, Transient, Unavailable
from app.logins.endings import LoginFailed
from app.logins.link import PING_SECONDS, Link
from app.logins.owned import OwnedLogin
from app.logins.secrets import Answer, open_answer
from app.redis_state import login_inbox_key
from app.telegram.flood import LONGEST_RETRY_SECONDS

_LOOK_SECONDS = 3.0  # a hint can be lost; this is how late an answer is then


class Inbox:
    """What the user types for one phase, one answer after the other.

    Args:
        what: ``password`` or ``code``.
    """

    def __init__(self, owned: OwnedLogin, link: Link, what: str) -> None:
        self._owned = owned
        self._link = link
        self._what = what
        self._unjudged: Answer | None = None  # what the user typed and Telegram has not judged yet

    @contextlib.asynccontextmanager
    async def next_answer(self, *, attempts_left: int) -> AsyncIterator[str]:
        """Wait for the user's next answer, and have it for a block that asks Telegram about it.

        An answer that the connection broke under is given again: nobody told the user to type it once more.

        Raises:
            whatever ``Link.wait`` and the block raise.
        """
        answer = await self._wait_for(attempts_left)
        self._unjudged = answer
        try:
            yield answer.text
        except (Transient, Unavailable):
            raise  # Telegram may not have seen it
        except BaseException:
            self._unjudged = None
            raise
        self._unjudged = None

    async def sit_out(self, flood: FloodWait) -> None:
        """Wait in place, with the countdown on show: the answer is in nobody's hands but ours, and must not be stored.

        Raises:
            LoginFailed: ``flood_wait``: it is too long.
            whatever ``OwnedLogin.advance`` and ``Link.wait`` raise.
        """
        owned = self._owned
        seconds = owned.telegram.floods.countdown(flood.wait_seconds)
        if flood.wait_seconds > LONGEST_RETRY_SECONDS or seconds >= owned.remaining_seconds():
            raise LoginFailed("flood_wait", retry_after_seconds=flood.wait_seconds) from flood
        until = utc_now() + timedelta(seconds=seconds)
        await owned.advance(retry_after_at=until)
        while (left := (until - utc_now()).total_seconds()) > 0:
            await self._link.wait(left)
        await owned.advance(retry_after_at=None)

    async def _wait_for(self, attempts_left: int) -> Answer:
        """Wait for an answer to the present question.

        An answer to an earlier question (sent twice, say, while the first was checked) is dropped: it would cost an attempt
        that nobody made.
        """
        pinged_at = time.monotonic()
        while True:
            answer = await self._take() or self._unjudged
            self._unjudged = None
            if answer is not None and answer.attempts_left == attempts_left:
                return answer
            if answer is None:
                await self._link.wait(_LOOK_SECONDS)
            if time.monotonic() - pinged_at > PING_SECONDS:
                await self._link.ping()
                pinged_at = time.monotonic()

    async def _take(self) -> Answer | None:
        owned, login = self._owned, self._owned.login
        try:
            value = await owned.telegram.redis.getdel(login_inbox_key(login.id, self._what))
        except (RedisError, OSError) as exc:
            raise Unavailable("Redis cannot be asked for the user's answer.") from exc
        if not isinstance(value, bytes):
            return None
        try:
            return await owned.with_keys(
                open_answer,
                owned.core.keyring,
                tenant_id=login.tenant_id,
                login_id=login.id,
                what=self._what,
                value=value,
            )
        except SealBroken:
            owned.log.warning("login.answer_does_not_open", what=self._what)
            return None
