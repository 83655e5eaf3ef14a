"""Whose flood wait is whose: the gate of a call, as narrow as Telegram's own limit.

- ``auth.exportLoginToken`` and ``importLoginToken`` (documented without a limit): the login's, at its api_id.
- Whatever names a phone number (``auth.sendCode``, ``resendCode``, ``signIn``): the number's, whoever asks. Telegram counts
  codes by phone number and not by api_id.
- Everything else (``account.getPassword``, ``auth.checkPassword``, ``users.getUsers``, ``auth.logOut``): the account's,
  whichever key asks. Telegram counts passwords by account.

The account is known by up to three names, and a wait closes the gate of each, so that whoever knows one of them waits:

- the auth key, always: the one name that a log-out long after the login still knows;
- the salts of the account's password, once ``account.getPassword`` has told them: they are the same for all logins of the
  account until its password changes, and tell nothing to anybody else;
- the account's id, once Telegram has told it. What a caller only claims is not known.

A person counts once toward a storm (``app.telegram.flood``): as the login, the phone number, or the account by its best name.
An auth key whose account is not known does not count: several keys may be one person's.

Sources: https://core.telegram.org/api/errors#420-flood and https://core.telegram.org/api/srp. That the limits are by phone
number and by account is not documented; the maintainers of three clients say so.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from telethon.tl.types import (
    PasswordKdfAlgoSHA256SHA256PBKDF2HMACSHA512iter100000SHA256ModPow as _KnownAlgorithm,
)
from telethon.tl.types.account import Password

from app.keyed_hash import keyed_hash
from app.settings import Settings

_BY_LOGIN = frozenset({"auth.exportLoginToken", "auth.importLoginToken"})


class Gate(NamedTuple):
    """What a flood wait closes.

    Args:
        scopes: all whom the wait holds for; one of them that is closed closes the gate.
        person: the scope that counts toward a storm at the api_id; None: it may be one of several of the same person.
    """

    method: str
    api_id: int
    scopes: tuple[str, ...]
    person: str | None


class Caller:
    """Who makes calls, as far as Telegram can tell. Its gates change with what becomes known: an auth key, the account.

    Args:
        login_id: the login that the calls are for; None for a stored session's.
        auth_key: what the calls are made under; None while there is none yet.
        telegram_user_id: the account, if Telegram has told whose the auth key is; None while nobody knows.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        api_id: int,
        login_id: str | None = None,
        auth_key: bytes | None = None,
        telegram_user_id: int | None = None,
    ) -> None:
        self._settings = settings
        self._api_id = api_id
        self._login_id = login_id
        self._auth_key = auth_key
        self._password_salts: bytes | None = None
        self.telegram_user_id = telegram_user_id

    def use_auth_key(self, auth_key: bytes) -> None:
        """Say which auth key the calls are made under from now on. Whose account another key is is not known yet."""
        if auth_key != self._auth_key:
            self._auth_key, self._password_salts, self.telegram_user_id = auth_key, None, None

    def learn_from(self, answer: Any) -> None:
        """Take from Telegram's answer to a call what it tells of the account."""
        if isinstance(answer, Password) and isinstance(answer.current_algo, _KnownAlgorithm):
            self._password_salts = bytes(answer.current_algo.salt1) + bytes(answer.current_algo.salt2)

    def gate_of(self, request: Any) -> Gate:
        """The gate that this call has to pass, and that closes when Telegram answers it with a flood wait."""
        method = method_name(request)
        if (number := getattr(request, "phone_number", None)) is not None:
            phone = self._phone_scope(str(number))
            return Gate(method, self._api_id, scopes=(phone,), person=phone)
        if method in _BY_LOGIN and self._login_id is not None:
            login = f"api:{self._api_id}:login:{self._login_id}"
            return Gate(method, self._api_id, scopes=(login,), person=login)
        assert self._auth_key is not None
        account = self._account_scopes()
        return Gate(
            method,
            self._api_id,
            scopes=(f"key:{_digest(self._auth_key)}", *account),
            person=account[-1] if account else None,
        )

    def _phone_scope(self, number: str) -> str:
        digits = "".join(filter(str.isdecimal, number))
        return f"phone:{keyed_hash(self._settings, purpose='flood gate', value=digits).hex()[:32]}"

    def _account_scopes(self) -> list[str]:
        """The names of the account that are known, the best one last."""
        scopes = []
        if self._password_salts is not None:
            scopes.append(f"password:{_digest(self._password_salts)}")
        if self.telegram_user_id is not None:
            scopes.append(f"user:{self.telegram_user_id}")
        return scopes


def _digest(secret: bytes) -> str:
    """A name for what nobody can guess; it tells nothing of it."""
    return hashlib.sha256(b"flood gate" + secret).hexdigest()[:32]


def method_name(request: Any) -> str:
    """A request's TL name: ``ExportLoginTokenRequest`` of ``auth`` is ``auth.exportLoginToken``."""
    namespace = type(request).__module__.rpartition(".")[2]
    name = type(request).__name__.removesuffix("Request")
    name = name[0].lower() + name[1:]
    return name if namespace == "functions" else f"{namespace}.{name}"
