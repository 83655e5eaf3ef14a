"""The row of the login that this worker drives: each write is fenced by the owner's epoch, and told to whoever looks.

Blocking work leaves the loop here; what the row says after a write, ``login`` says too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.orm import Session as DatabaseSession

from app.core import Core
from app.logins.secrets import auth_key_place
from app.logins.store import advance
from app.models import Login
from app.redis_state import LOGIN_CHANNEL, encode_login_hint
from app.settings import DataCentre
from app.telegram.connection import TelegramConnection
from app.telegram.parts import TelegramParts

T = TypeVar("T")


class LoginRow:
    """See the module.

    Args:
        login: the row as this worker took it, with its epoch; detached.
        auth_key: the one that the row keeps, opened; None when there is none yet.
    """

    def __init__(self, *, core: Core, telegram: TelegramParts, login: Login, auth_key: bytes | None) -> None:
        self.login = login
        self._core = core
        self._telegram = telegram
        self._kept_auth_key = auth_key

    @property
    def data_centre(self) -> DataCentre | None:
        """Where the kept auth key lives; None when there is none."""
        login = self.login
        if login.dc_id is None or login.dc_host is None or login.dc_port is None:
            return None
        return DataCentre(dc_id=login.dc_id, host=login.dc_host, port=login.dc_port)

    async def transact(self, work: Callable[[DatabaseSession], T]) -> T:
        """Run blocking work in a transaction, off the loop.

        Raises:
            Unavailable: PostgreSQL is away; nothing was written.
            whatever the work raises; nothing was written then either.
        """
        return await self._telegram.runtime.in_thread(self._transact, work)

    async def advance(self, *, keeping: TelegramConnection | None = None, **changes: Any) -> None:
        """Write to the row as its owner, and tell whoever looks at the login.

        Args:
            keeping: a connection whose auth key is kept in the same transaction, as ``keep_auth_key`` does.
            changes: columns of ``Login``.

        Raises:
            OwnershipLost, LoginOver: the row is not ours (any more).
            Unavailable: PostgreSQL is away; nothing was written.
        """
        await self._write(keeping, changes, public=True)
        await self.tell()

    async def keep_auth_key(self, connection: TelegramConnection) -> None:
        """Seal a connection's auth key into the row: from here a killed worker loses nothing. Once for each key.

        Raises:
            as ``advance``.
        """
        if connection.auth_key != self._kept_auth_key:
            await self._write(connection, {}, public=False)

    async def tell(self) -> None:
        """Publish the hint that the login changed. Readers poll as well, so that a lost hint costs seconds."""
        with contextlib.suppress(RedisError, OSError):
            await self._telegram.redis.publish(LOGIN_CHANNEL, encode_login_hint(self.login.id, self.login.version))

    def _transact(self, work: Callable[[DatabaseSession], T]) -> T:
        with self._core.transaction() as db:
            return work(db)

    async def _write(self, keeping: TelegramConnection | None, changes: dict[str, Any], *, public: bool) -> None:
        def write(db: DatabaseSession) -> tuple[int, dict[str, Any]]:
            written = changes
            if keeping is not None and keeping.auth_key != self._kept_auth_key:
                written = changes | self._sealed(db, keeping)
            login = self.login
            return advance(db, login_id=login.id, epoch=login.owner_epoch, public=public, **written), written

        self.login.version, written = await self.transact(write)
        for name, value in written.items():
            setattr(self.login, name, value)
        if keeping is not None:
            self._kept_auth_key = keeping.auth_key

    def _sealed(self, db: DatabaseSession, connection: TelegramConnection) -> dict[str, Any]:
        # The row's key may have been rotated since it was read; one key id serves all that the row has sealed.
        key_id = db.scalar(select(Login.key_id).where(Login.id == self.login.id).with_for_update())
        assert key_id is not None
        dc = connection.data_centre
        sealed = self._core.keyring.seal_under_key(key_id, auth_key_place(self.login), connection.auth_key)
        return {"auth_key_sealed": sealed, "dc_id": dc.dc_id, "dc_host": dc.host, "dc_port": dc.port}
