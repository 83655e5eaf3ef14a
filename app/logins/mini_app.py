"""The Mini App's way in: who opened it, as Telegram signed it, and the login that is theirs.

``initData`` proves who holds the phone, so its user is the one who is expected to log in. One ``initData`` leads to one login,
and to that one again however often it comes; it can start no other.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from init_data_py import InitData, parse, validate_by_hash, validate_by_signature
from init_data_py.errors import InvalidInitDataError
from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.orm import Session as DatabaseSession

from app.core import Core
from app.errors import Conflict, Unauthenticated, Unavailable
from app.idempotency import ANSWER_LIFE, Asked, Owner
from app.logins.serving import LANGUAGE_TAG, NewLogin
from app.logins.start import StartedLogin, start_login
from app.logs import get_logger
from app.models import Tenant
from app.redis_state import mini_app_opening_key
from app.settings import Settings

MAX_AGE = timedelta(hours=1)
"""How old initData may be. Below ``ANSWER_LIFE``: while it is taken, the login that it started is remembered."""
MAX_AHEAD = timedelta(minutes=1)
"""How far Telegram's clock may be ahead of ours."""

assert MAX_AGE + MAX_AHEAD < ANSWER_LIFE  # else it could start a second login

_START_PARAM = re.compile(r"[A-Za-z0-9_-]{1,500}")  # as Telegram takes it; as long as a value of a login's metadata
_log = get_logger(__name__)


class InitDataInvalid(Unauthenticated):
    """Raised when initData was not signed for this bot, is about nobody, or comes from the future."""

    code = "init_data_invalid"


class InitDataExpired(Unauthenticated):
    """Raised when initData is genuine, but was signed more than ``MAX_AGE`` ago. Opening the Mini App anew helps."""

    code = "init_data_expired"


@dataclass(frozen=True, kw_only=True)
class Opener:
    """Whoever opened the Mini App.

    Args:
        language: a language tag, if Telegram named one.
        start_param: what the link that opened the Mini App carried; its text is anybody's.
        digest: of all that was signed, whatever order and spelling it came in.
    """

    telegram_user_id: int
    language: str | None
    start_param: str | None
    digest: str


def has_mini_app(settings: Settings) -> bool:
    """Whether this installation has a bot, and so a Mini App."""
    return settings.telegram_bot_token is not None or settings.telegram_bot_id is not None


def verify_init_data(
    settings: Settings, init_data: str, *, now: datetime, telegram_public_key: bytes | None = None
) -> Opener:
    """Make sure that Telegram signed initData for our bot, lately.

    With a bot token its HMAC is checked; with a bot's id alone, Telegram's own Ed25519 signature.

    Args:
        init_data: the query string that Telegram gave the page.
        now: aware.
        telegram_public_key: 32 bytes; None: Telegram's own.

    Raises:
        InitDataInvalid, InitDataExpired: see there.

    Source: https://core.telegram.org/bots/webapps#validating-data-received-via-the-mini-app
    """
    try:
        signed = parse(init_data)
        _check_signature(settings, signed, telegram_public_key)
    except (InvalidInitDataError, ValueError, RecursionError):  # what is wrong with it is an attacker's business alone
        raise InitDataInvalid("This initData was not signed by Telegram for this bot.") from None
    if signed.issued_at > now + MAX_AHEAD:
        raise InitDataInvalid("This initData comes from the future.")
    if signed.issued_at < now - MAX_AGE:
        raise InitDataExpired("This initData is too old; open the Mini App anew.")
    user = signed.user
    if user is None or not 0 < user.id < 2**63:
        raise InitDataInvalid("This initData names no user.")
    language = user.language_code or ""
    start_param = signed.start_param or ""
    return Opener(
        telegram_user_id=user.id,
        language=language if LANGUAGE_TAG.fullmatch(language) else None,
        start_param=start_param if _START_PARAM.fullmatch(start_param) else None,
        digest=_digest(signed),
    )


def read_mini_app_tenant(core: Core) -> Tenant:
    """The tenant that the Mini App belongs to: ``MINIAPP_TENANT_ID``, or the only one there is.

    Raises:
        Unavailable: it cannot be told, which is the operator's to mend; or the database is away.
    """
    with core.transaction() as db:
        tenant = _find_tenant(db, core.settings.miniapp_tenant_id)
    if tenant is None:
        _log.error("miniapp.no_tenant", detail="set MINIAPP_TENANT_ID to the tenant that the bot belongs to")
        raise Unavailable("The Mini App is not set up: nobody said whose it is.")
    return tenant


def note_opening(core: Core, opener: Opener) -> bool:
    """Note that this initData came; True the first time within its life, so that only that time counts as a start.

    Raises:
        Unavailable: Redis is away: what limits starts fails closed.
    """
    life_seconds = int((MAX_AGE + MAX_AHEAD).total_seconds())
    try:
        return bool(core.redis.set(mini_app_opening_key(opener.digest), 1, nx=True, ex=life_seconds))
    except RedisError as exc:
        raise Unavailable("Logins cannot be counted right now; try again.") from exc


def forget_opening(core: Core, opener: Opener) -> None:
    """Let this initData count as a start once more: the first one was refused."""
    with contextlib.suppress(RedisError):
        core.redis.delete(mini_app_opening_key(opener.digest))


def start_mini_app_login(core: Core, *, tenant: Tenant, opener: Opener) -> StartedLogin:
    """Start the login of whoever opened the Mini App. Called once for one initData: see ``once_for``.

    Raises:
        Conflict: ``tenant_disabled``.
        RateLimited, Unavailable, SealBroken, KeyUnavailable, Transient: as ``start_login``.
    """
    if tenant.disabled_at is not None:
        raise Conflict("The application that this Mini App belongs to was switched off.", code="tenant_disabled")
    request = NewLogin(
        telegram_user_id=opener.telegram_user_id,
        locale=opener.language,
        metadata={"start_param": opener.start_param} if opener.start_param else {},
        actor="mini-app",
    )
    return start_login(core, tenant_id=tenant.id, request=request)


def once_for(opener: Opener, *, tenant: Tenant) -> Asked:
    """What makes the same initData lead to the same login, however often it comes."""
    return Asked(
        key=opener.digest,
        identify=lambda _: Owner(tenant.id, "init-data"),
        request=opener.digest,
        subject=None,
    )


def _check_signature(settings: Settings, signed: InitData, telegram_public_key: bytes | None) -> None:
    # How old it may be is asked afterwards, both ways: the library takes what comes from the future.
    if settings.telegram_bot_token is not None:
        validate_by_hash(signed, settings.telegram_bot_token.get_secret_value(), expires_in=None)
        return
    assert settings.telegram_bot_id is not None
    validate_by_signature(signed, settings.telegram_bot_id, public_key=telegram_public_key, expires_in=None)


def _digest(signed: InitData) -> str:
    """Of the fields, not of the text: the same ones can be written in many ways, and each must lead to the same login."""
    lines = sorted(f"{name}={value}" for name, value in signed.pairs if name not in ("hash", "signature"))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _find_tenant(db: DatabaseSession, tenant_id: str | None) -> Tenant | None:
    if tenant_id is not None:
        return db.get(Tenant, tenant_id)
    tenants = db.scalars(select(Tenant).where(Tenant.disabled_at.is_(None)).limit(2)).all()
    return tenants[0] if len(tenants) == 1 else None
