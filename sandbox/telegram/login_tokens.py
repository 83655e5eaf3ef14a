"""Login tokens: exported by a waiting device, accepted by a phone, imported at the phone's data centre.

Source: https://core.telegram.org/api/qr-login
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox.telegram.cloud import Cloud
from sandbox.telegram.errors import RpcError
from sandbox.telegram.model import AcceptMode, Account, Authorization, Device, LoginToken

_TOKEN_BYTES = 32
_MEMORY_SECONDS = 600
"""How long a token that was used or ran out is told from one that never was."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The device shows this token."""

    token: LoginToken


@dataclass(frozen=True, slots=True)
class MigrateTo:
    """The phone's account lives in another data centre: import this token there."""

    dc_id: int
    token: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The device is logged in."""

    account: Account


Outcome = Waiting | MigrateTo | LoggedIn


@dataclass(slots=True)
class _Issued:
    """A token and what became of it."""

    expires_at: float
    device: Device
    accepted: bool = False


@dataclass(slots=True)
class _Migration:
    """A token for importing, and the scan that it stands for."""

    expires_at: float
    origin: Device
    account: Account
    token: bytes = field(repr=False)
    imported: bool = False


class LoginTokens:
    """All tokens that were issued, and the logins that they lead to."""

    def __init__(self, cloud: Cloud, *, on_accepted: Callable[[Device, Account], None]) -> None:
        """Start without tokens.

        Args:
            cloud: where the logins happen.
            on_accepted: told when a device's token was accepted: it sends updateLoginToken.
        """
        self._cloud = cloud
        self._on_accepted = on_accepted
        self._issued: dict[bytes, _Issued] = {}
        self._migrations: dict[bytes, _Migration] = {}

    def export(self, device: Device, except_ids: frozenset[int]) -> Outcome:
        """Answer auth.exportLoginToken: the same token until it expires, or how the login goes on.

        Raises:
            RpcError: SESSION_PASSWORD_NEEDED, or the account is out of order.
        """
        if device.authorization is not None:
            return LoggedIn(self._cloud.account_of(device))
        if device.accepted_by is not None:
            return self._claim(device, self._cloud.accounts[device.accepted_by])
        now = self._cloud.clock()
        token = device.login_token
        if token is None or token.expires_at <= now:
            token = LoginToken(secrets.token_bytes(_TOKEN_BYTES), now + self._cloud.rules.token_seconds, except_ids)
            device.login_token = token
            self._forget_old(now)
            self._issued[token.token] = _Issued(token.expires_at, device)
        token.except_ids = except_ids
        return Waiting(token)

    def waiting(self) -> list[tuple[Device, LoginToken]]:
        """Return the devices whose login token a phone could scan now, each with its token, the oldest token first."""
        shown = ((issued.device, self._shown(token, issued)) for token, issued in self._issued.items())
        return [(device, token) for device, token in shown if token is not None]

    def accept(self, account: Account, token: bytes) -> Authorization | None:
        """Do what a phone does that scanned a token.

        Returns:
            The authorization, or None when the device has yet to claim it.

        Raises:
            RpcError: AUTH_TOKEN_INVALID, AUTH_TOKEN_EXPIRED, AUTH_TOKEN_ALREADY_ACCEPTED,
                AUTH_TOKEN_EXCEPTION (the device asked not to log in this account again), or the account is
                out of order.
        """
        if account.refusal:
            raise RpcError(account.refusal)
        issued = self._issued.get(token)
        if issued is None:
            raise RpcError("AUTH_TOKEN_INVALID")
        if issued.accepted:
            raise RpcError("AUTH_TOKEN_ALREADY_ACCEPTED")
        device = issued.device
        shown = self._shown(token, issued)
        if shown is None:
            raise RpcError("AUTH_TOKEN_EXPIRED")
        if account.user_id in shown.except_ids:
            raise RpcError("AUTH_TOKEN_EXCEPTION")
        issued.accepted = True
        device.accepted_by = account.user_id
        device.death = None
        self._cloud.journal.save_device(device)
        authorization = None
        if account.accept is AcceptMode.AT_ONCE and account.dc_id == device.auth_key.dc_id:
            authorization = self._cloud.authorize(device, account)
        self._on_accepted(device, account)
        return authorization

    def import_token(self, device: Device, token: bytes) -> Outcome:
        """Answer auth.importLoginToken at the account's own data centre.

        Raises:
            RpcError: AUTH_TOKEN_INVALID, AUTH_TOKEN_EXPIRED, AUTH_TOKEN_ALREADY_ACCEPTED, or how the login
                goes on.
        """
        migration = self._migrations.get(token)
        if migration is None:
            raise RpcError("AUTH_TOKEN_INVALID")
        if migration.account.dc_id != device.auth_key.dc_id:
            return MigrateTo(migration.account.dc_id, token)
        if migration.imported:
            if device.authorization is not None and device.authorization.user_id == migration.account.user_id:
                return LoggedIn(self._cloud.account_of(device))
            raise RpcError("AUTH_TOKEN_ALREADY_ACCEPTED")
        if migration.expires_at <= self._cloud.clock():
            raise RpcError("AUTH_TOKEN_EXPIRED")
        migration.imported = True
        self._cloud.end_authorization(migration.origin, death=None)
        return self._log_in(device, migration.account)

    def _shown(self, token: bytes, issued: _Issued) -> LoginToken | None:
        """Return what the device shows, if that is still this token, neither accepted nor expired nor replaced."""
        shown = issued.device.login_token
        is_live = shown is not None and shown.token == token and issued.expires_at > self._cloud.clock()
        return shown if is_live and not issued.accepted else None

    def _claim(self, device: Device, account: Account) -> Outcome:
        """Turn an accepted scan into a login, or send the device to the data centre where it can be one."""
        if account.dc_id == device.auth_key.dc_id:
            return self._log_in(device, account)
        now = self._cloud.clock()
        for migration in self._migrations.values():
            if migration.origin is device and migration.expires_at > now and not migration.imported:
                return MigrateTo(account.dc_id, migration.token)
        self._forget_old(now)
        token = secrets.token_bytes(_TOKEN_BYTES)
        self._migrations[token] = _Migration(now + self._cloud.rules.token_seconds, device, account, token)
        return MigrateTo(account.dc_id, token)

    def _log_in(self, device: Device, account: Account) -> LoggedIn:
        self._cloud.authorize(device, account)
        return LoggedIn(self._cloud.account_of(device))

    def _forget_old(self, now: float) -> None:
        """Forget the oldest tokens.

        Both tables are in the order of their expiry, so the front is all there is to see.
        """
        tables: tuple[dict[bytes, Any], ...] = (self._issued, self._migrations)
        for table in tables:
            while table and next(iter(table.values())).expires_at < now - _MEMORY_SECONDS:
                del table[next(iter(table))]
