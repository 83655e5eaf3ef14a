"""A login as callers see it: the contract's Login, and nothing that is secret but the QR code itself."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from app.clock import Timestamp, utc_now
from app.models import Login

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
FailureReason = Literal[
    "ownership_mismatch",
    "flood_wait",
    "password_attempts_exhausted",
    "code_attempts_exhausted",
    "account_banned",
    "account_deactivated",
    "api_id_invalid",
    "phone_invalid",
    "email_setup_required",
    "payment_required",
    "code_undeliverable",
    "telegram_unavailable",
    "internal_error",
]
FINAL_STATUSES: frozenset[str] = frozenset({"authorized", "expired", "failed", "cancelled"})


class QRView(BaseModel):
    """The current QR code: what to draw, and until when it may be scanned."""

    url: str = Field(repr=False, description="What the QR code says: tg://login?token=…")
    expires_at: Timestamp


class PasswordView(BaseModel):
    """What the account asks for when it has a 2FA password."""

    hint: str | None
    attempts_left: int


class CodeView(BaseModel):
    """Where Telegram sent the login code, and what it looks like."""

    delivery: str = Field(
        description="`app`, `sms`, `call`, `email`, `fragment`, `missed_call` (the code is the last digits of the caller's "
        "number), `flash_call` (the code is the caller's whole number), `word` or `phrase`."
    )
    length: int | None = Field(description="How many characters the code has, if that is known.")
    beginning: str | None = Field(default=None, description="How a word or a phrase begins.")
    pattern: str | None = Field(
        default=None, description="The e-mail address with its middle hidden, or how the caller's number looks."
    )
    attempts_left: int
    next_delivery: str | None = Field(
        default=None, description="By which way it comes when it is asked for once more, if Telegram says so."
    )
    resend_at: Timestamp | None = Field(
        default=None, description="From when on it is time to ask for it once more, if Telegram says so."
    )
    no_other_way: bool | None = Field(
        default=None,
        description="True: Telegram was asked to send the code once more, and has no way that can be answered.",
    )

    @model_serializer(mode="wrap")
    def _leave_out_what_does_not_apply(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        shown: dict[str, Any] = serialize(self)
        return {name: value for name, value in shown.items() if value is not None or name == "length"}


class AccountView(BaseModel):
    """Who was connected, as the person would recognise it."""

    first_name: str | None
    username: str | None
    phone_masked: str | None


class LoginView(BaseModel):
    """The contract's Login."""

    id: str
    status: LoginStatus
    reason: FailureReason | None
    method: Literal["qr", "code"]
    telegram_user_id: int | None
    end_user_id: str | None = Field(description="Your own name for the person.")
    session_id: str | None
    reused: bool
    qr: QRView | None
    password: PasswordView | None
    code: CodeView | None
    retry_after: int | None = Field(description="Seconds until it goes on, or until it is worth another try.")
    account: AccountView | None = Field(description="Who was connected, while the session is active.")
    redirect_url: str | None = Field(description="Where the hosted page leads when the login is over.")
    metadata: dict[str, Any]
    created_at: Timestamp
    expires_at: Timestamp
    updated_at: Timestamp
    version: int

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in FINAL_STATUSES


_AS_THEY_ARE = (
    "id",
    "status",
    "reason",
    "method",
    "telegram_user_id",
    "end_user_id",
    "session_id",
    "reused",
    "redirect_url",
    "created_at",
    "expires_at",
    "updated_at",
    "version",
)
SHOWN_COLUMNS = (*_AS_THEY_ARE, "code", "client_metadata", "password_hint", "password_attempts_left", "retry_after_at")
"""The columns of a login that ``view_login`` looks at."""


def view_login(login: Login, *, qr: QRView | None, account: AccountView | None = None) -> LoginView:
    """Show a row; ``qr`` is the current code if the reader may see one, ``account`` is who was connected."""
    return LoginView.model_validate(
        {name: getattr(login, name) for name in _AS_THEY_ARE}
        | {
            "qr": qr if login.status == "waiting_for_scan" else None,
            "password": _password(login),
            "code": login.code if login.status == "code_required" else None,
            "retry_after": _seconds_until(login.retry_after_at),
            "account": account,
            "metadata": login.client_metadata,
        }
    )


def _password(login: Login) -> PasswordView | None:
    if login.status != "password_required":
        return None
    return PasswordView(hint=login.password_hint, attempts_left=login.password_attempts_left or 0)


def _seconds_until(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    seconds = math.ceil((moment - utc_now()).total_seconds())
    return seconds if seconds > 0 else None
