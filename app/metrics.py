"""The metrics of the contract (namespace ``telethon``), as one object built once per process.

Counters and histograms are counted where things happen; the gauges that describe the database's state are read from it
when they are scraped (``StateCollector``), so that they are right whichever process is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import redis
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from redis.exceptions import RedisError
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session as DatabaseSession

from app.database import Transaction
from app.errors import Unavailable
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
from app.redis_state import SESSION_COUNTS_KEY

_MANY_SESSIONS = 50_000
_COUNTED_EVERY_SECONDS = 60
_FAST = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_PACING = (0.0, 0.05, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 1.0)
_WAITS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 86400.0)


@dataclass(frozen=True)
class Metrics:
    """Every counter, histogram and in-process gauge, by its contract name less ``telethon_`` and ``_total``."""

    auth_qr_start: Counter
    auth_qr_published: Counter
    auth_qr_success: Counter
    auth_qr_expired: Counter
    auth_qr_failed: Counter
    auth_qr_reused: Counter
    auth_qr_resumed: Counter
    auth_qr_timeout: Counter
    auth_qr_migrated: Counter
    ownership_mismatch: Counter
    floodwait: Counter
    floodwait_api_gate: Counter
    requests: Counter
    session_validations: Counter
    session_leases: Counter
    backups: Counter
    key_unwraps: Counter
    webhook_deliveries: Counter
    webhooks_disabled: Counter
    time_to_qr_seconds: Histogram
    scan_to_authorized_seconds: Histogram
    session_cleanup_duration_seconds: Histogram
    throttling_delay_seconds: Histogram
    floodwait_seconds: Histogram
    request_duration_seconds: Histogram
    background_restarts: Counter
    key_log_outs: Counter
    overdue_logins: Counter
    pruned_rows: Counter
    validator_paused: Gauge
    backup_gaps: Gauge


def make_metrics(registry: CollectorRegistry | None = None) -> Metrics:
    """Register the metrics.

    Args:
        registry: None keeps them out of any registry's output; a process that is scraped passes its own.
    """

    def counter(name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace="telethon", registry=registry)

    def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, namespace="telethon", buckets=buckets, registry=registry)

    return Metrics(
        auth_qr_start=counter("auth_qr_start", "Logins started.", "tenant_id"),
        auth_qr_published=counter("auth_qr_published", "Logins whose first QR code was published.", "tenant_id"),
        auth_qr_success=counter("auth_qr_success", "Logins that ended authorized.", "tenant_id"),
        auth_qr_expired=counter("auth_qr_expired", "Logins that ended expired.", "tenant_id"),
        auth_qr_failed=counter("auth_qr_failed", "Logins that ended failed.", "tenant_id", "reason"),
        auth_qr_reused=counter("auth_qr_reused", "Logins answered with an active session.", "tenant_id"),
        auth_qr_resumed=counter("auth_qr_resumed", "Logins that a worker took over on their auth key.", "tenant_id"),
        auth_qr_timeout=counter(
            "auth_qr_timeout", "Telegram calls of logins that ran into their time limit.", "tenant_id"
        ),
        auth_qr_migrated=counter("auth_qr_migrated", "Moves of a login to another data centre.", "tenant_id", "call"),
        ownership_mismatch=counter("ownership_mismatch", "Logins by another account than expected.", "tenant_id"),
        floodwait=counter("floodwait", "FLOOD_WAIT answers from Telegram.", "method"),
        floodwait_api_gate=counter(
            "floodwait_api_gate", "Times that waits of several people closed the gate of a whole api_id.", "method"
        ),
        requests=counter("requests", "Requests to Telegram.", "method", "outcome"),
        session_validations=counter("session_validations", "Validations of sessions.", "outcome"),
        session_leases=counter("session_leases", "Calls on leases.", "outcome"),
        backups=counter("backups", "Objects backed up.", "outcome"),
        key_unwraps=counter("key_unwraps", "Data encryption keys unwrapped."),
        background_restarts=counter(
            "background_restarts", "Background loops that ended and were started again.", "loop"
        ),
        pruned_rows=counter("pruned_rows", "Rows that had been kept for long enough.", "table"),
        overdue_logins=counter("overdue_logins", "Logins that outlived their life and were ended by the sweep."),
        key_log_outs=counter("key_log_outs", "Log-outs of auth keys that logins left behind.", "outcome"),
        webhook_deliveries=counter("webhook_deliveries", "Tries to deliver a webhook.", "outcome"),
        webhooks_disabled=counter("webhooks_disabled", "Webhook endpoints disabled for their failures.", "tenant_id"),
        time_to_qr_seconds=histogram("time_to_qr_seconds", "From the POST to the first QR code.", _FAST),
        scan_to_authorized_seconds=histogram(
            "scan_to_authorized_seconds", "From the first sign of the scan to the stored session.", _FAST
        ),
        session_cleanup_duration_seconds=histogram(
            "session_cleanup_duration_seconds", "Logging out and disconnecting at the end of a login.", _FAST
        ),
        throttling_delay_seconds=histogram(
            "throttling_delay_seconds", "Pacing: the pause before a request of the same client.", _PACING
        ),
        floodwait_seconds=histogram("floodwait_seconds", "The waits that Telegram asked for.", _WAITS),
        request_duration_seconds=histogram("request_duration_seconds", "Requests to Telegram.", _FAST, "method"),
        validator_paused=Gauge(
            "validator_paused",
            "1 while the validator pauses because too many sessions died at once.",
            namespace="telethon",
            registry=registry,
            multiprocess_mode="livemax",
        ),
        backup_gaps=Gauge(
            "backup_gaps",
            "Living sessions whose newest backup is not in the bucket, as the last verification found.",
            namespace="telethon",
            registry=registry,
            multiprocess_mode="livemax",
        ),
    )


class StateCollector(Collector):
    """Reads the gauges that describe the database when they are scraped; says nothing while it is away.

    Sessions are counted at each scrape while they are few. From ``_MANY_SESSIONS`` on one process counts them for all, once a
    minute: a count of the whole table takes as long as the table is large, and every process is scraped.
    """

    def __init__(self, transaction: Transaction, cache: redis.Redis) -> None:
        self._transaction = transaction
        self._cache = cache

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing in advance: registering must not need a database."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Query each gauge by an index."""
        try:
            yield from self._read()
        except Unavailable:
            return

    def _read(self) -> Iterator[GaugeMetricFamily]:
        now = func.now()
        with self._transaction() as db:
            # Tenants without any are told as 0: a gauge that vanishes looks like an outage.
            pending = db.execute(
                select(Tenant.id, func.count(Login.id))
                .outerjoin(Login, (Login.tenant_id == Tenant.id) & Login.status.in_(LIVE_LOGIN_STATUSES))
                .where(Tenant.disabled_at.is_(None) | Login.id.is_not(None))
                .group_by(Tenant.id)
            ).all()
            sessions = self._sessions_by_status(db)
            lag = db.scalar(
                select(func.extract("epoch", now - func.min(TelegramSession.next_validation_at))).where(
                    TelegramSession.status == "active"
                )
            )
            backup_age = db.scalar(
                select(func.extract("epoch", now - func.max(BackupRun.finished_at))).where(BackupRun.complete)
            )
            key_age = db.scalar(
                select(func.extract("epoch", now - EncryptionKey.created_at)).where(EncryptionKey.state == "active")
            )
            webhooks = db.scalar(select(func.count()).where(WebhookDelivery.state == "pending"))
        yield GaugeMetricFamily("telethon_webhook_backlog", "Webhooks that wait for a try.", value=float(webhooks or 0))
        logins_pending = GaugeMetricFamily("telethon_logins_pending", "Logins under way.", labels=["tenant_id"])
        for tenant_id, count in pending:
            logins_pending.add_metric([tenant_id], count)
        yield logins_pending
        by_status = GaugeMetricFamily("telethon_sessions", "Sessions by status.", labels=["status"])
        for status in SESSION_STATUSES:
            by_status.add_metric([status], sessions.get(status, 0))
        yield by_status
        yield GaugeMetricFamily(
            "telethon_validation_lag_seconds",
            "How long the most overdue validation is late.",
            value=max(0.0, float(lag or 0)),
        )
        if backup_age is not None:
            yield GaugeMetricFamily(
                "telethon_backup_age_seconds", "Since a backup last left nothing to do.", value=float(backup_age)
            )
        if key_age is not None:
            yield GaugeMetricFamily(
                "telethon_encryption_key_age_seconds", "Age of the active data encryption key.", value=float(key_age)
            )

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
