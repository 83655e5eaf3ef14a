"""Whose flood wait is whose: the gate of a call, as narrow as Telegram's own limit.

- ``auth.exportLoginToken`` and ``importLoginToken`` (documented without a limit): the login's, at its api_id.
- Whatever names a phone number (``auth.sendCode``, ``resendCode``, ``signIn``): the number's, whoever asks. Telegram counts
  codes by phone number and not by api_id, as maintainers of several clients have found.
- Everything else (``account.getPassword``, ``auth.checkPassword``, ``users.getUsers``, ``auth.logOut``): the account's when it
  is known, and the auth key's until then. Telegram counts passwords by account.

Source: https://core.telegram.org/api/errors#420-flood
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from app.keyed_hash import keyed_hash
from app.settings import Settings

_BY_LOGIN = frozenset({"auth.exportLoginToken", "auth.importLoginToken"})


class Gate(NamedTuple):
    """What a flood wait closes: a method for a scope; and the api_id whose gate closes when many scopes meet waits."""

    method: str
    scope: str
    api_id: int


class Caller:
    """Who makes calls, as far as Telegram can tell. Its gates change with what becomes known: an auth key, the account.

    Args:
        login_id: the login that the calls are for; None for a stored session's.
        telegram_user_id: the account; None while nobody knows.
    """

    def __init__(
        self, settings: Settings, *, api_id: int, login_id: str | None = None, telegram_user_id: int | None = None
    ) -> None:
        self._settings = settings
        self._api_id = api_id
        self._login_id = login_id
        self._key = "none"
        self.telegram_user_id = telegram_user_id

    def use_auth_key(self, auth_key: bytes | None) -> None:
        """Say which auth key the calls are made under. The account of another key is not known."""
        self._key = hashlib.sha256(b"flood gate" + auth_key).hexdigest()[:32] if auth_key else "none"

    def gate_of(self, request: Any) -> Gate:
        """The gate that this call has to pass, and that closes when Telegram answers it with a flood wait."""
        method = method_name(request)
        return Gate(method=method, scope=self._scope_of(method, request), api_id=self._api_id)

    def _scope_of(self, method: str, request: Any) -> str:
        if method in _BY_LOGIN and self._login_id is not None:
            return f"api:{self._api_id}:login:{self._login_id}"
        if (number := getattr(request, "phone_number", None)) is not None:
            digits = "".join(filter(str.isdecimal, str(number)))
            return f"phone:{keyed_hash(self._settings, purpose='flood gate', value=digits).hex()[:32]}"
        if self.telegram_user_id is not None:
            return f"user:{self.telegram_user_id}"
        return f"key:{self._key}"


def method_name(request: Any) -> str:
    """A request's TL name: ``ExportLoginTokenRequest`` of ``auth`` is ``auth.exportLoginToken``."""
    namespace = type(request).__module__.rpartition(".")[2]
    name = type(request).__name__.removesuffix("Request")
    name = name[0].lower() + name[1:]
    return name if namespace == "functions" else f"{namespace}.{name}"
