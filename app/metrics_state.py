"""The gauges that describe the stores' state, read when somebody scrapes: they are right whichever process is asked."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import redis
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from redis.exceptions import RedisError
from sqlalchemy import Select, func, select, text
from sqlalchemy.orm import Session as DatabaseSession

from app.database import Transaction
from app.errors import Unavailable
from app.metrics_tenants import TenantLabels
from app.models import (
    LIVE_LOGIN_STATUSES,
    SESSION_STATUSES,
    BackupRun,
    EncryptionKey,
    Login,
    TelegramSession,
    Tenant,
    WebhookDelivery,
)
from app.periodic import read_successes
from app.redis_state import SESSION_COUNTS_KEY

_MANY_SESSIONS = 50_000
_COUNTED_EVERY_SECONDS = 60
_DAY_SECONDS = 86_400


class StateCollector(Collector):
    """Reads the gauges at each scrape; leaves out those of a store that is away.

    Sessions are counted at each scrape while they are few. From ``_MANY_SESSIONS`` on one process counts them for all, once a
    minute: a count of the whole table takes as long as the table is large, and every process is scraped.

    Args:
        tenants: which tenants have a label of their own.
        rotation_days: the age at which a data encryption key is replaced: ``KEY_ROTATION_DAYS``.
        backed_up: whether there is a bucket; without one a backup has no age.
    """

    def __init__(
        self,
        transaction: Transaction,
        cache: redis.Redis,
        *,
        tenants: TenantLabels,
        rotation_days: float,
        backed_up: bool = True,
    ) -> None:
        self._transaction = transaction
        self._cache = cache
        self._tenants = tenants
        self._rotation_days = rotation_days
        self._backed_up = backed_up

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing in advance: registering must not need a database."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Query each gauge by an index."""
        with contextlib.suppress(RedisError):
            yield _by_label(
                "last_success_timestamp_seconds",
                "When each periodic task last succeeded; 0: never.",
                "task",
                read_successes(self._cache),
            )
        yield _gauge(
            "encryption_key_rotation_seconds",
            "The age at which a data encryption key is replaced.",
            self._rotation_days * _DAY_SECONDS,
        )
        try:
            with self._transaction() as db:
                found = list(self._read(db))
        except Unavailable:
            return
        yield from found

    def _read(self, db: DatabaseSession) -> Iterator[GaugeMetricFamily]:
        yield _by_label("logins_pending", "Logins under way.", "tenant_id", self._pending(db))
        sessions = self._sessions_by_status(db)
        by_status = {status: float(sessions.get(status, 0)) for status in SESSION_STATUSES}
        yield _by_label("sessions", "Sessions by status.", "status", by_status)
        due = select(func.min(TelegramSession.next_validation_at)).where(TelegramSession.status == "active")
        yield _seconds(db, "validation_lag_seconds", "How long the most overdue validation is late.", due)
        made = select(EncryptionKey.created_at).where(EncryptionKey.state == "active")
        yield _seconds(db, "encryption_key_age_seconds", "Age of the active data encryption key.", made)
        if self._backed_up:
            yield _seconds(db, "backup_age_seconds", "Since a backup last left nothing to do.", *_LAST_BACKUP)
        waiting = db.scalar(select(func.count()).where(WebhookDelivery.state == "pending"))
        yield _gauge("webhook_backlog", "Webhooks that wait for a try.", float(waiting or 0))

    def _pending(self, db: DatabaseSession) -> dict[str, float]:
        # Tenants without any are told as 0: a gauge that vanishes looks like an outage.
        pending = db.execute(
            select(Tenant.id, func.count(Login.id))
            .outerjoin(Login, (Login.tenant_id == Tenant.id) & Login.status.in_(LIVE_LOGIN_STATUSES))
            .where(Tenant.disabled_at.is_(None) | Login.id.is_not(None))
            .group_by(Tenant.id, Tenant.created_at)
            .order_by(Tenant.created_at, Tenant.id)
        ).all()
        counted: Counter[str] = Counter()
        for tenant_id, logins in pending:
            counted[self._tenants.of(tenant_id)] += logins
        return {label: float(logins) for label, logins in counted.items()}

    def _sessions_by_status(self, db: DatabaseSession) -> dict[str, int]:
        estimate = text("SELECT reltuples FROM pg_class WHERE oid = 'sessions'::regclass")
        if (db.scalar(estimate) or 0) < _MANY_SESSIONS:
            return _count_sessions(db)
        try:
            kept = self._cache.get(SESSION_COUNTS_KEY)
            if isinstance(kept, bytes):
                counts: dict[str, int] = json.loads(kept)
                return counts
            counts = _count_sessions(db)
            self._cache.set(SESSION_COUNTS_KEY, json.dumps(counts), ex=_COUNTED_EVERY_SECONDS)
            return counts
        except RedisError:
            return {}


def _count_sessions(db: DatabaseSession) -> dict[str, int]:
    counted = db.execute(select(TelegramSession.status, func.count()).group_by(TelegramSession.status)).all()
    return {status: count for status, count in counted}  # noqa: C416  # dict() does not take rows


_LAST_BACKUP = (
    select(func.max(BackupRun.finished_at)).where(BackupRun.complete),
    # None yet: what should have been backed up grows old.
    select(func.min(TelegramSession.created_at)).where(TelegramSession.status == "active"),
)


def _seconds(db: DatabaseSession, name: str, text: str, *moments: Select[Any]) -> GaugeMetricFamily:
    """The seconds since the first of these moments that there is; 0 for none, and for one to come."""
    for moment in moments:
        since = db.scalar(select(func.extract("epoch", func.now() - moment.scalar_subquery())))
        if since is not None:
            return _gauge(name, text, max(0.0, float(since)))
    return _gauge(name, text, 0.0)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"telethon_{name}", text, value=value)


def _by_label(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"telethon_{name}", text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
