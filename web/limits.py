"""How often callers may call: every route that takes a key or a login's secret counts against one of these limits.

| limit | counts | by |
|---|---|---|
| `reads` | what only looks | key and tenant; a login's secret |
| `opens` | opened sessions | key and tenant |
| `changes` | everything else that changes something | key and tenant; a login's secret |
| `lease` | renewing and releasing: as often as somebody has leases | lease |
| `own` | nothing here: the view itself knows better (logins by tenant, answers by login, codes by phone number) | |
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

from flask import request

from app.keyed_hash import keyed_hash
from app.logins.service import Reader
from app.tenants.keys import Caller
from app.tenants.limits import Quota, QuotaState, QuotaUsedUp
from web.parts import parts
from web.rate_headers import remember_quota

Limit = Literal["by method", "reads", "opens", "changes", "lease", "own"]

CHARGED = "latchkey.charged"
"""In the environ of a request that was counted before Flask saw it: what came of that."""

_LEASE_CALLS_PER_MINUTE = 60
_HOUR_SECONDS = 3600


def charge(limit: Limit, *, caller: Caller | None, reader: Reader | None, arguments: Mapping[str, object]) -> None:
    """Count the current call, or refuse it.

    Args:
        limit: see the module; ``by method``: a GET reads, everything else changes.
        caller: the API key that it came with; None: it came with a login's own secret.
        reader: who reads the login that it is about, if it is about one.
        arguments: of its route.

    Raises:
        RateLimited: there were too many.
        Unavailable: Redis is away, and the limit fails closed.
    """
    if limit == "by method":
        limit = "reads" if request.method in ("GET", "HEAD") else "changes"
    if limit == "own":
        return
    if CHARGED in request.environ:
        _take_over(request.environ[CHARGED])
        return
    if limit == "lease":
        quotas = [Quota("lease-calls", str(arguments["lease_id"]), _LEASE_CALLS_PER_MINUTE)]
    elif caller is not None:
        quotas = [*quotas_of_key(limit, caller, _amount(limit))]
    else:
        assert reader is not None
        assert reader.client_secret is not None
        # By the secret and not by the login: who guesses wrongly uses up nothing of whoever has the right one.
        secret = hashlib.sha256(reader.client_secret.encode()).hexdigest()[:32]
        quotas = [Quota(f"{limit}-per-secret", secret, _amount(limit))]
    limits = parts().limits
    state = limits.hit(*quotas) if limit == "opens" else limits.hit_if_known(*quotas)
    if state is not None:
        remember_quota(state)


def quotas_of_key(limit: Limit, caller: Caller, amount: int) -> tuple[Quota, Quota]:
    """What a call with an API key counts against."""
    return Quota(f"{limit}-per-key", caller.key_id, amount), Quota(limit, caller.tenant_id, amount)


def _take_over(outcome: QuotaState | QuotaUsedUp | None) -> None:
    if isinstance(outcome, QuotaUsedUp):
        raise outcome
    if outcome is not None:
        remember_quota(outcome)


def charge_code(phone: str) -> None:
    """Count a login code to a phone number, over all tenants: nobody's phone rings without end.

    Raises:
        RateLimited: it has had ``CODES_PER_PHONE_PER_HOUR``.
        Unavailable: Redis is away.
    """
    settings = parts().core.settings
    number = keyed_hash(settings, purpose="code limit", value=phone).hex()
    parts().limits.hit(Quota("codes-per-phone", number, settings.codes_per_phone_per_hour, _HOUR_SECONDS))


def _amount(limit: Limit) -> int:
    settings = parts().core.settings
    return settings.read_rate_per_minute if limit == "reads" else settings.open_rate_per_minute
