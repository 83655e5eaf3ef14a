"""What Latchkey answers with: the contract's shapes. Times are aware UTC datetimes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    LoginStatus = Literal[
        "queued",
        "waiting_for_scan",
        "code_required",
        "password_required",
        "authorized",
        "expired",
        "failed",
        "cancelled",
    ]
    SessionStatus = Literal["active", "quarantined", "invalid", "revoking", "revoked", "replaced"]
    Method = Literal["qr", "code"]
else:  # a value that a later Latchkey adds must not break its clients
    LoginStatus = SessionStatus = Method = str

FINAL_STATUSES: frozenset[str] = frozenset({"authorized", "expired", "failed", "cancelled"})


@dataclass(frozen=True, kw_only=True)
class Qr:
    """What to draw as a QR code, and until when it may be scanned."""

    url: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Password:
    """What the account says of its 2FA password."""

    hint: str | None
    attempts_left: int


@dataclass(frozen=True, kw_only=True)
class Code:
    """Where Telegram sent the login code, and what it looks like; see the API's reference for ``delivery``."""

    delivery: str
    length: int | None
    attempts_left: int
    beginning: str | None = None
    pattern: str | None = None
    next_delivery: str | None = None
    resend_at: datetime | None = None
    no_other_way: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Account:
    """Who was connected, as the person would recognise it."""

    first_name: str | None
    username: str | None
    phone_masked: str | None


@dataclass(frozen=True, kw_only=True)
class Login:
    """A login as it stands. ``version`` grows with every change; ``retry_after`` is in seconds."""

    id: str
    status: LoginStatus
    reason: str | None
    method: Method
    telegram_user_id: int | None
    session_id: str | None
    reused: bool
    qr: Qr | None
    password: Password | None
    code: Code | None
    retry_after: int | None
    account: Account | None
    created_at: datetime
    expires_at: datetime
    updated_at: datetime
    version: int
    end_user_id: str | None = None
    redirect_url: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in FINAL_STATUSES


@dataclass(frozen=True, kw_only=True)
class StartedLogin(Login):
    """A login with what the person's browser needs: send them to ``page_url``."""

    client_secret: str = field(repr=False)
    page_url: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class LeaseHolder:
    """Who uses a session, and until when."""

    holder: str
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Session:
    """A stored session; what opens the account comes with a lease only."""

    id: str
    status: SessionStatus
    reason: str | None
    telegram_user_id: int | None
    username: str | None
    first_name: str | None
    phone_masked: str | None
    dc_id: int
    created_at: datetime
    last_validated_at: datetime | None
    next_validation_at: datetime | None
    backed_up_at: datetime | None
    lease: LeaseHolder | None
    end_user_id: str | None = None
    key_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SessionPage:
    """Some sessions; ``next_cursor`` asks for the ones after, None: there are none."""

    data: list[Session]
    next_cursor: str | None


@dataclass(frozen=True, kw_only=True)
class RevokedSessions:
    """How many sessions are being revoked now."""

    sessions: int


@dataclass(frozen=True, kw_only=True)
class RenewedLease:
    """A lease as it stands. ``fencing_token`` grows with every lease of the session: pass it on with what you write."""

    lease_id: str
    fencing_token: int
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Lease(RenewedLease):
    """A lease with what is needed to use the session: under this ``api_id`` and this ``device``, and only while it lasts."""

    session_string: str = field(repr=False)
    telegram_user_id: int | None
    api_id: int
    device: Mapping[str, str]
    dc_id: int | None = None
