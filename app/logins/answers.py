"""Answers of the user (password, code) on their way to the conversation: taken out of Redis once, opened, forgotten."""

from __future__ import annotations

from redis.exceptions import RedisError

from app.errors import SealBroken, Unavailable
from app.logins.conversation import Conversation
from app.logins.secrets import Answer, open_answer
from app.redis_state import login_inbox_key

_LOOK_SECONDS = 3.0  # a hint can be lost; this is how late an answer is then


async def next_answer(talk: Conversation, what: str, *, attempts_left: int) -> str:
    """Wait for the user's next answer.

    An answer to an earlier question (sent twice, say, while the first was being checked) is dropped: it would cost an attempt
    that nobody made.

    Raises:
        whatever ``Conversation.wait`` raises.
    """
    pinged_at = talk.now()
    while True:
        answer = await _take(talk, what)
        if answer is not None and answer.attempts_left == attempts_left:
            return answer.text
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
