"""What comes in and goes out with a session's calls, beside the Session itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationInfo, field_validator

from app.clock import Timestamp
from app.sessions.read import SessionStatus
from app.sessions.store import OWN_HOLDER_PREFIX
from app.storable import storable
from app.telegram.session_formats import SessionFormat
from web.parsing import Body, Moment, Query
from web.views.login_bodies import TelegramUserId


def _not_ours(holder: str) -> str:
    if holder.startswith(OWN_HOLDER_PREFIX):
        raise ValueError(f"must not start with {OWN_HOLDER_PREFIX}: those are Latchkey's own")
    return holder


Holder = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(storable), AfterValidator(_not_ours)]
Seconds = Annotated[int, Field(ge=10, le=3600, description="For how long, from now.")]


class SessionsQuery(Query):
    """Which sessions, and which page of them."""

    status: SessionStatus | None = None
    telegram_user_id: int | None = Field(default=None, gt=0, lt=2**63)
    end_user_id: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(storable)] | None = None
    cursor: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_-]{1,80}$", description="next_cursor of the page before."
    )
    limit: int = Field(default=50, ge=1, le=200, description="How many at most.")


class NewSessionBody(Body):
    """A session to import."""

    session_string: SecretStr = Field(
        min_length=1,
        max_length=1024,
        description="A string session of Telethon, Pyrogram (Kurigram), GramJS or mtcute.",
    )
    format: SessionFormat | None = Field(default=None, description="Whose form it has; recognised when it is not said.")
    telegram_user_id: TelegramUserId | None = Field(
        default=None, description="Whose it must be. Anybody else's is refused and erased, and not logged out."
    )


class RevokeBody(Body):
    """Which sessions are to be revoked: those that meet all that is said."""

    holder: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(storable)] | None = Field(
        default=None, description="Who leased them, as it was said then."
    )
    api_key_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")] | None = Field(
        default=None, description="The key that they were leased with."
    )
    opened_since: Moment | None = Field(default=None, description="Only those that were leased since then.")
    all: Literal[True] | None = Field(
        default=None, validate_default=True, description="Every session of yours. Goes alone."
    )

    @field_validator("all")
    @classmethod
    def _says_something(cls, everything: bool | None, fields: ValidationInfo) -> bool | None:
        said = any(fields.data.get(name) is not None for name in ("holder", "api_key_id", "opened_since"))
        if everything and said:
            raise ValueError("goes alone")
        if not everything and not said:
            raise ValueError("say holder, api_key_id or opened_since, or all: true for every session")
        return everything


class RevokedSessions(BaseModel):
    """How many sessions are being revoked now."""

    sessions: int


class NewLeaseBody(Body):
    """A lease to be."""

    holder: Holder = Field(description="Who uses the session: what others are told who find it leased.")
    ttl_seconds: Seconds
    purpose: Annotated[str, Field(max_length=200), AfterValidator(storable)] | None = Field(
        default=None, description="Why, for the audit."
    )
    format: SessionFormat = Field(default="telethon", description="Whose form session_string is to have.")


class RenewLeaseBody(Body):
    """A lease to go on."""

    ttl_seconds: Seconds
    healthy: bool | None = Field(
        default=None,
        description="true: Telegram answers, which counts as validation. false: validate it when the lease ends.",
    )


class ReleaseLeaseQuery(Query):
    """What a holder has to say at the end."""

    healthy: bool | None = Field(
        default=None, description="As in a renewal, for what happened since the last one: false: validate it now."
    )


class DeviceView(BaseModel):
    """What the session calls itself at Telegram, for as long as it lives."""

    device_model: str
    system_version: str
    app_version: str


class RenewedLeaseView(BaseModel):
    """A lease as it stands."""

    lease_id: str
    fencing_token: int = Field(description="Grows with every lease of the session: pass it on with what you write.")
    expires_at: Timestamp


class LeaseView(RenewedLeaseView):
    """A lease, with what is needed to use the session. Use it under this api_id and device."""

    session_string: str = Field(
        repr=False, description="The whole account: keep it in memory, and only while the lease lasts."
    )
    telegram_user_id: int | None
    dc_id: int
    api_id: int
    device: DeviceView
