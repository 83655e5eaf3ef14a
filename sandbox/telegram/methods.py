"""The table of API methods: what a handler gets, and how it says whom it serves.

The handlers live beside this file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from sandbox.mtproto.auth_keys import AuthKey
from sandbox.telegram.cloud import Cloud
from sandbox.telegram.errors import RpcError
from sandbox.telegram.login_tokens import LoginTokens
from sandbox.telegram.model import Account, Device
from sandbox.telegram.phone_codes import PhoneCodes
from sandbox.telegram.tickets import Tickets


class Access(Enum):
    """Who may call a method."""

    ANYBODY = auto()
    PASSWORD_PENDING = auto()
    """A device that is logged in, or would be but for its password."""
    LOGGED_IN = auto()


@dataclass(slots=True)
class Services:
    """What the handlers work with."""

    cloud: Cloud
    login_tokens: LoginTokens
    phone_codes: PhoneCodes
    tickets: Tickets
    dc_addresses: Callable[[], dict[int, tuple[str, int]]]
    """Where each data centre listens, by its number."""


@dataclass(slots=True)
class Caller:
    """Who calls, and what the handler may use."""

    services: Services
    device: Device

    @property
    def cloud(self) -> Cloud:
        """Telegram's memory."""
        return self.services.cloud

    @property
    def auth_key(self) -> AuthKey:
        """The key that the call came with."""
        return self.device.auth_key

    @property
    def account(self) -> Account:
        """The account that the device is logged in to, password or not."""
        return self.cloud.pending_or_active(self.device)

    def check_api_credentials(self, api_id: int, api_hash: str | None = None) -> None:
        """Refuse an api_id or api_hash that Telegram would refuse.

        Raises:
            RpcError: API_ID_INVALID.
        """
        rules = self.cloud.rules
        wrong_id = api_id <= 0 or rules.api_id not in (None, api_id)
        wrong_hash = api_hash is not None and (not api_hash or rules.api_hash not in (None, api_hash))
        if wrong_id or wrong_hash:
            raise RpcError("API_ID_INVALID")


Handler = Callable[[Caller, Any], Any]


@dataclass(frozen=True, slots=True)
class Method:
    """One API method."""

    run: Handler
    access: Access


METHODS: Final[dict[type, Method]] = {}
"""By the request's class; what is not in here is METHOD_INVALID for a logged-in user."""


def method(request_class: type, access: Access = Access.LOGGED_IN) -> Callable[[Handler], Handler]:
    """Enter a handler into the table."""

    def enter(handler: Handler) -> Handler:
        METHODS[request_class] = Method(handler, access)
        return handler

    return enter
