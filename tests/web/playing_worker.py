"""What a worker does to a login, as the web sees it: the row's compare-and-set, the sealed token, the hint."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from app.clock import utc_now
from app.core import Core
from app.logins.secrets import LoginToken, open_answer, seal_token
from app.logins.store import advance, end_as_owner, take
from app.models import Login
from app.redis_state import LOGIN_CHANNEL, encode_login_hint, login_inbox_key, login_qr_key
from tests.waiting import wait_until


class PlayingWorker:
    """Drives one login through its states by the code that real workers write rows with."""

    def __init__(self, core: Core, login_id: str) -> None:
        self._core = core
        with core.transaction() as db:
            taken = take(db, login_id=login_id, owner="test")
        assert taken is not None
        self._login = taken

    def publish_qr(self, *, life_seconds: float = 30.0, kept_seconds: int = 31, hint: bool = True) -> str:
        """Show a new login token and return its login URL."""
        token = LoginToken(token=os.urandom(32), expires_at=utc_now() + timedelta(seconds=life_seconds))
        sealed = seal_token(self._core.keyring, tenant_id=self._login.tenant_id, login_id=self._login.id, token=token)
        self._core.redis.set(login_qr_key(self._login.id), sealed, ex=kept_seconds)
        self.advance(hint=hint, status="waiting_for_scan", qr_expires_at=token.expires_at)
        return token.url

    def ask_password(self, *, attempts_left: int = 5, hint_text: str = "first dog") -> None:
        """Want the 2FA password."""
        self.advance(
            status="password_required",
            password_hint=hint_text,
            password_attempts_left=attempts_left,
            qr_expires_at=None,
        )

    def ask_code(self, *, delivery: str = "app", length: int | None = 5, **known: Any) -> None:
        """Want the login code; ``known`` is what else the row says of it."""
        code = {"delivery": delivery, "length": length, "attempts_left": 3, **known}
        self.advance(status="code_required", code=code)

    def take_answer(self, what: str) -> str:
        """Wait for what the user typed, and take it."""
        key = login_inbox_key(self._login.id, what)
        value = wait_until(lambda: self._core.redis.getdel(key))
        assert isinstance(value, bytes)
        return open_answer(
            self._core.keyring, tenant_id=self._login.tenant_id, login_id=self._login.id, what=what, value=value
        ).text

    def advance(self, *, hint: bool = True, **changes: Any) -> int:
        """Write to the row, and say so unless the hint is to be lost."""
        with self._core.transaction() as db:
            version = advance(db, login_id=self._login.id, epoch=self._login.owner_epoch, **changes)
        if hint:
            self._core.redis.publish(LOGIN_CHANNEL, encode_login_hint(self._login.id, version))
        return version

    def finish(self, status: str, *, hint: bool = True, **changes: Any) -> Login:
        """End the login."""
        with self._core.transaction() as db:
            ended = end_as_owner(db, login_id=self._login.id, status=status, epoch=self._login.owner_epoch, **changes)
        if hint:
            self._core.redis.publish(LOGIN_CHANNEL, encode_login_hint(ended.id, ended.version))
        return ended
