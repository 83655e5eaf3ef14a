"""What comes in and goes out with a login's calls, beside the Login itself."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, WithJsonSchema, field_validator

from app.logins.serving import LANGUAGE_TAG, NewLogin
from app.logins.start import StartedLogin
from app.logins.typed import normalize_phone_number
from app.logins.view import LoginView
from app.storable import Storable, storable
from web.parsing import Body, Query

_MOST_CODE_DIGITS = 32


def _language_tag(text: str) -> str:
    if not LANGUAGE_TAG.fullmatch(text):
        raise ValueError("must be a language tag such as en or pt-BR")
    return text


def _metadata_value(value: object) -> object:
    if isinstance(value, str):
        if len(storable(value)) > 500:
            raise ValueError("must be 500 characters at most")
        return value
    number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    if not (number or value is None):
        raise ValueError("must be a string, a finite number, a boolean or null")
    return value


def _storable_secret(secret: SecretStr) -> SecretStr:
    # Half a character cannot be sent to Telegram, and the error that says so in the worker would quote the whole.
    storable(secret.get_secret_value())
    return secret


def _not_too_many_digits(secret: SecretStr) -> SecretStr:
    if sum(map(str.isdecimal, secret.get_secret_value())) > _MOST_CODE_DIGITS:
        raise ValueError(f"must have {_MOST_CODE_DIGITS} digits at most")
    return secret


MetadataKey = Annotated[Storable, Field(min_length=1, max_length=40)]
# Not a union: its errors would name every branch.
MetadataValue = Annotated[
    Any, AfterValidator(_metadata_value), WithJsonSchema({"type": ["string", "number", "boolean", "null"]})
]
StorableSecret = Annotated[SecretStr, AfterValidator(_storable_secret)]
EndUserId = Annotated[Storable, Field(min_length=1, max_length=200)]
SessionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")]
PhoneNumber = Annotated[str, Field(max_length=64), AfterValidator(normalize_phone_number)]
TelegramUserId = Annotated[int, Field(gt=0, lt=2**63)]


def phone_goes_with_code(phone: str | None, fields: ValidationInfo) -> str | None:
    """Take a phone number with method code, and with no other."""
    method = fields.data.get("method")  # None: it is wrong itself
    if method == "code" and phone is None:
        raise ValueError("is needed with method code")
    if method == "qr" and phone is not None:
        raise ValueError("goes with method code only")
    return phone


class NewLoginBody(Body):
    """What a login is started with; all of it may be left out."""

    telegram_user_id: TelegramUserId | None = Field(
        default=None, description="Who is expected to log in. Anybody else is refused and logged out."
    )
    end_user_id: EndUserId | None = Field(
        default=None,
        description="Your own name for the person: on the login and its session. A new login of the same person cancels the "
        "one under way.",
    )
    session_id: SessionId | None = Field(
        default=None,
        description="Log in again for this session: only the same account may, and the session keeps its id, end user and "
        "metadata.",
    )
    method: Literal["qr", "code"] = Field(default="qr", description="code: for people whose only device is in hand.")
    phone: PhoneNumber | None = Field(
        default=None,
        validate_default=True,
        description="International, in any form that people write it. Needed with method code, refused with qr.",
    )
    replace: bool = Field(default=False, description="Log in anew even if an active session serves, and replace it.")
    locale: Annotated[str, Field(max_length=35), AfterValidator(_language_tag)] | None = Field(
        default=None,
        description="The hosted page's language, such as pt-BR; one that it does not speak is the browser's choice.",
    )
    redirect_url: Annotated[Storable, Field(max_length=2000)] | None = Field(
        default=None, description="Where the hosted page leads when the login is over; on your list of `redirect_urls`."
    )
    origin: Annotated[Storable, Field(max_length=300)] | None = Field(
        default=None, description="The page that embeds the hosted page; on your list of `origins`."
    )
    metadata: dict[MetadataKey, MetadataValue] = Field(
        default_factory=dict, max_length=16, description="Yours; comes back with the login and its webhooks."
    )

    @field_validator("phone")
    @classmethod
    def _phone_goes_with_code(cls, phone: str | None, fields: ValidationInfo) -> str | None:
        return phone_goes_with_code(phone, fields)

    def to_request(self) -> NewLogin:
        """As ``app`` takes it."""
        return NewLogin(**self.model_dump())


class StartedLoginView(LoginView):
    """A Login, with what the browser needs to show and drive it."""

    client_secret: str = Field(repr=False, description="Shows and drives this login alone: header Login-Secret.")
    page_url: str = Field(repr=False, description="The hosted page, with the secret in its fragment.")


def show_started(started: StartedLogin, *, public_url: str) -> StartedLoginView:
    """As callers get it."""
    page_url = f"{public_url.rstrip('/')}/login/{started.login.id}#{started.client_secret}"
    return StartedLoginView(**dict(started.login), client_secret=started.client_secret, page_url=page_url)


class WaitQuery(Query):
    """Long polling."""

    wait: float = Field(default=0, ge=0, le=30, description="Seconds to wait for a version above `version`.")
    version: int | None = Field(default=None, ge=0, description="The version you have; without it, the current one.")


class EventsQuery(Query):
    """What a stream brings beside the login."""

    qr: Literal["svg"] | None = Field(default=None, description="Also each new QR code, drawn.")


class MethodBody(Body):
    """Which way the login is to go on."""

    method: Literal["qr", "code"]
    phone: PhoneNumber | None = Field(
        default=None, validate_default=True, description="Needed with code, refused with qr."
    )

    @field_validator("phone")
    @classmethod
    def _phone_goes_with_code(cls, phone: str | None, fields: ValidationInfo) -> str | None:
        return phone_goes_with_code(phone, fields)


class PasswordBody(Body):
    """The 2FA password that the user typed."""

    password: StorableSecret = Field(min_length=1, max_length=1024)


class CodeBody(Body):
    """The login code that Telegram sent to the user."""

    code: Annotated[StorableSecret, AfterValidator(_not_too_many_digits)] = Field(min_length=1, max_length=256)


class MiniAppBody(Body):
    """Who opened the Mini App."""

    init_data: SecretStr = Field(
        min_length=1, max_length=8192, description="`Telegram.WebApp.initData`, as it is: Telegram signed it."
    )
