"""What Telegram keeps: accounts with phones, authorizations, the device behind each auth key. Data only."""

import secrets
from dataclasses import dataclass, field
from enum import StrEnum

from sandbox.mtproto.auth_keys import AuthKey
from sandbox.telegram.srp import Password


class AccountState(StrEnum):
    """Whether an account may use Telegram."""

    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    BANNED = "banned"


class AcceptMode(StrEnum):
    """When a scan authorizes the waiting key; both are seen in the wild."""

    NEXT_EXPORT = "next_export"
    AT_ONCE = "at_once"


class CodeWay(StrEnum):
    """How a login code is sent. The last five send none: they want something else first, or nothing more.

    Source: https://core.telegram.org/api/auth
    """

    APP = "app"
    SMS = "sms"
    CALL = "call"
    FLASH_CALL = "flash_call"
    MISSED_CALL = "missed_call"
    EMAIL = "email"
    FRAGMENT = "fragment"
    FIREBASE = "firebase"
    WORD = "word"
    PHRASE = "phrase"
    EMAIL_SETUP = "email_setup"
    PAYMENT = "payment"
    SUCCESS = "success"


USUAL_CODE_WAYS = (CodeWay.APP, CodeWay.SMS)


@dataclass(slots=True)
class PhoneMessage:
    """A login code that reached an account's owner, by whatever way."""

    text: str = field(repr=False)
    code: str = field(repr=False)
    sent_at: float
    delivery: str


@dataclass(slots=True)
class Authorization:
    """One login of one account: what the phone lists under its active sessions."""

    hash: int
    user_id: int
    key_id: int
    api_id: int
    device_model: str
    system_version: str
    app_version: str
    created_at: float
    active_at: float
    password_pending: bool


@dataclass(slots=True)
class Account:
    """A user with a phone."""

    user_id: int
    phone: str
    first_name: str
    username: str | None
    dc_id: int
    accept: AcceptMode
    password: Password | None = None
    code_ways: tuple[CodeWay, ...] = USUAL_CODE_WAYS
    """How its login codes are sent: the first one, and each next one when it is asked for."""
    state: AccountState = AccountState.ACTIVE
    access_hash: int = field(default_factory=lambda: secrets.randbits(62))
    authorizations: dict[int, Authorization] = field(default_factory=dict)
    messages: list[PhoneMessage] = field(default_factory=list)

    @property
    def refusal(self) -> str | None:
        """The error that every call of this user is answered with; None while the account is in order."""
        return {
            AccountState.ACTIVE: None,
            AccountState.DEACTIVATED: "USER_DEACTIVATED",
            AccountState.BANNED: "USER_DEACTIVATED_BAN",
        }[self.state]


@dataclass(slots=True)
class LoginToken:
    """A login token that a device shows as a QR code."""

    token: bytes = field(repr=False)
    expires_at: float
    except_ids: frozenset[int]


@dataclass(slots=True)
class Device:
    """The program behind one auth key, as far as it introduced itself."""

    auth_key: AuthKey
    layer: int = 0
    api_id: int = 0
    device_model: str = "Unknown"
    system_version: str = ""
    app_version: str = ""
    authorization: Authorization | None = None
    accepted_by: int | None = None
    """Who scanned this device's login token, until the device claims the authorization by exporting again."""
    login_token: LoginToken | None = None
    death: str | None = None
    """The error that tells why this key's last authorization ended."""
    is_duplicated: bool = False
    """Whether this key was used on two connections at once: it is good for nothing any more."""
    srp_id: int | None = None
    srp_secret: int = 0
