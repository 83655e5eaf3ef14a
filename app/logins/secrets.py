"""What a login keeps sealed, and where: its client secret, auth key and phone in the row, the token and answers in Redis."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import datetime

from app.errors import SealBroken
from app.models import Login
from app.redis_state import login_inbox_key
from app.vault.keyring import KeyRing
from app.vault.sealing import Place, Sealed

ANSWER_LIFE_SECONDS = 60
RESEND = ""
"""The answer that asks for a login code to be sent once more. No code is empty, and nobody can type this one."""

_LOGIN_URL = "tg://login?token="


@dataclass(frozen=True)
class LoginToken:
    """A login token as Telegram exported it. ``expires_at`` is in our clock, corrected by the server's.

    Source: https://core.telegram.org/api/qr-login
    """

    token: bytes = field(repr=False)
    expires_at: datetime

    @property
    def url(self) -> str:
        """The login URL: what the QR code says."""
        return _LOGIN_URL + base64.urlsafe_b64encode(self.token).decode().rstrip("=")


@dataclass(frozen=True)
class Answer:
    """Something the user typed, on its way to the worker.

    ``attempts_left`` is what the user was shown when typing it; an answer to an older question is not used.
    """

    text: str = field(repr=False)
    attempts_left: int


def auth_key_place(login: Login) -> Place:
    """Where a login's auth key (256 bytes) is sealed."""
    return Place("login-auth-key", login.tenant_id, login.id)


def client_secret_place(tenant_id: str, login_id: str) -> Place:
    """Where a login's client secret is sealed."""
    return Place("login-client-secret", tenant_id, login_id)


def phone_place(tenant_id: str, login_id: str) -> Place:
    """Where the phone number of a phone-code login is sealed."""
    return Place("login-phone", tenant_id, login_id)


def open_phone_number(keyring: KeyRing, login: Login) -> str:
    """The number that a phone-code login sends its codes to.

    Raises:
        SealBroken: it does not open.
    """
    if login.phone_sealed is None or login.key_id is None:
        raise SealBroken("This login has no phone number.")
    number, _ = json.loads(
        keyring.open(phone_place(login.tenant_id, login.id), Sealed(login.key_id, login.phone_sealed))
    )
    return str(number)


def seal_token(keyring: KeyRing, *, tenant_id: str, login_id: str, token: LoginToken) -> bytes:
    """Seal a login token for Redis."""
    plaintext = json.dumps([base64.b64encode(token.token).decode(), token.expires_at.isoformat()]).encode()
    return keyring.seal(Place("login-token", tenant_id, login_id), plaintext).to_bytes()


def open_token(keyring: KeyRing, *, tenant_id: str, login_id: str, value: bytes) -> LoginToken:
    """Open what ``seal_token`` sealed.

    Raises:
        SealBroken: it is not this login's, or changed.
    """
    plaintext = keyring.open(Place("login-token", tenant_id, login_id), Sealed.from_bytes(value))
    token, expires_at = json.loads(plaintext)
    return LoginToken(token=base64.b64decode(token), expires_at=datetime.fromisoformat(expires_at))


def seal_answer(keyring: KeyRing, *, tenant_id: str, login_id: str, what: str, answer: Answer) -> tuple[str, bytes]:
    """Seal a password or code for its one-shot trip through Redis.

    Returns:
        The Redis key and the value to set there for ``ANSWER_LIFE_SECONDS``.
    """
    sealed = keyring.seal(
        Place(f"login-{what}", tenant_id, login_id), json.dumps([answer.text, answer.attempts_left]).encode()
    )
    return login_inbox_key(login_id, what), sealed.to_bytes()


def open_answer(keyring: KeyRing, *, tenant_id: str, login_id: str, what: str, value: bytes) -> Answer:
    """Open what ``seal_answer`` sealed.

    Raises:
        SealBroken: it is not this login's, or changed.
    """
    plaintext = keyring.open(Place(f"login-{what}", tenant_id, login_id), Sealed.from_bytes(value))
    text, attempts_left = json.loads(plaintext)
    return Answer(text=text, attempts_left=attempts_left)
