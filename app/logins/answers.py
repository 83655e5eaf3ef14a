"""Answers of the user (password, code) on their way to Telegram: taken out of Redis once, opened, forgotten once judged."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from redis.exceptions import RedisError

from app.clock import utc_now
from app.errors import FloodWait, SealBroken, Transient, Unavailable
from app.logins.conversation import Conversation
from app.logins.endings import LoginFailed
from app.logins.secrets import Answer, open_answer
from app.redis_state import login_inbox_key
from app.telegram.flood import LONGEST_RETRY_SECONDS

_LOOK_SECONDS = 3.0  # a hint can be lost; this is how late an answer is then


@contextlib.asynccontextmanager
async def next_answer(talk: Conversation, what: str, *, attempts_left: int) -> AsyncIterator[str]:
    """Wait for the user's next answer, and have it for a block that asks Telegram about it.

    What the connection broke under is given again: nobody told the user to type it once more.

    Raises:
        whatever ``Conversation.wait`` and the block raise.
    """
    answer = await _wait_for(talk, what, attempts_left)
    talk.unjudged = (what, answer)
    try:
        yield answer.text
    except (Transient, Unavailable):
        raise  # Telegram may not have seen it
    except BaseException:
        talk.unjudged = None
        raise
    talk.unjudged = None


async def sit_out(talk: Conversation, flood: FloodWait) -> None:
    """Wait in place, with the countdown on show: the answer is in nobody's hands but ours, and must not be stored.

    Raises:
        LoginFailed: ``flood_wait``: it is too long.
        whatever ``LoginRow.advance`` and ``wait`` raise.
    """
    seconds = talk.floods.countdown(flood.wait_seconds)
    if flood.wait_seconds > LONGEST_RETRY_SECONDS or seconds >= talk.remaining_seconds():
        raise LoginFailed("flood_wait", retry_after_seconds=flood.wait_seconds) from flood
    until = utc_now() + timedelta(seconds=seconds)
    await talk.row.advance(retry_after_at=until)
    while (left := (until - utc_now()).total_seconds()) > 0:
        await talk.wait(left)
    await talk.row.advance(retry_after_at=None)


async def _wait_for(talk: Conversation, what: str, attempts_left: int) -> Answer:
    """Wait for an answer to the present question.

    One to an earlier question (sent twice, say, while the first was being checked) is dropped: it would cost an attempt that
    nobody made.
    """
    pinged_at = talk.now()
    while True:
        newer = await _take(talk, what)
        answer = (what, newer) if newer is not None else talk.unjudged
        talk.unjudged = None
        if answer is not None and answer[0] == what and answer[1].attempts_left == attempts_left:
            return answer[1]
        if answer is None:
            await talk.wait(_LOOK_SECONDS)
        if talk.now() - pinged_at > talk.PING_SECONDS:
            await talk.ping()
            pinged_at = talk.now()


async def _take(talk: Conversation, what: str) -> Answer | None:
    login = talk.login
    try:
        value = await talk.redis.getdel(login_inbox_key(login.id, what))
    except (RedisError, OSError) as exc:
        raise Unavailable("Redis cannot be asked for the user's answer.") from exc
    if not isinstance(value, bytes):
        return None
    try:
        return await talk.in_thread(
            open_answer, talk.core.keyring, tenant_id=login.tenant_id, login_id=login.id, what=what, value=value
        )
    except SealBroken:
        talk.log.warning("login.answer_does_not_open", what=what)
        return None
