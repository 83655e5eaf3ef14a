"""Using Latchkey from another program: logins, sessions, leases, webhooks.

    from latchkey_client import Latchkey

    with Latchkey("https://latchkey.example", "lk_…") as latchkey:
        login = latchkey.logins.start(end_user_id="alice")
        print("Send Alice to", login.page_url)
        print(latchkey.logins.wait(login.id).status)

``AsyncLatchkey`` has the same calls, awaited. Needs nothing of Latchkey itself; ``lease`` needs Telethon
(``latchkey-client[telethon]``).
"""

from .errors import (
    AccessDenied,
    Conflict,
    InvalidRequest,
    LatchkeyError,
    LatchkeyUnavailable,
    LeaseLost,
    NotFound,
    RateLimited,
    SessionDead,
    SessionLeased,
    SessionNotActive,
    WebhookRefused,
)
from .latchkey import AsyncLatchkey, Latchkey
from .models import Account, Code, Lease, Login, Password, Qr, RenewedLease, Session, SessionPage, StartedLogin
from .webhooks import WebhookEvent, verify_webhook

__all__ = [
    "AccessDenied",
    "Account",
    "AsyncLatchkey",
    "Code",
    "Conflict",
    "InvalidRequest",
    "Latchkey",
    "LatchkeyError",
    "LatchkeyUnavailable",
    "Lease",
    "LeaseLost",
    "Login",
    "NotFound",
    "Password",
    "Qr",
    "RateLimited",
    "RenewedLease",
    "Session",
    "SessionDead",
    "SessionLeased",
    "SessionNotActive",
    "SessionPage",
    "StartedLogin",
    "WebhookEvent",
    "WebhookRefused",
    "verify_webhook",
]
