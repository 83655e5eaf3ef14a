"""The metrics that a process counts (namespace ``telethon``), as one object built once per process.

Counters and histograms are counted where things happen, and stand at 0 before they do. The gauges that describe the stores'
state are read from them when they are scraped: see ``app.metrics_state``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app import metrics_labels as known
from app.metrics_tenants import TenantCounter, TenantLabels, begin_at_zero

_FAST = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_PACING = (0.0, 0.05, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 1.0)
_WAITS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 86400.0)


@dataclass(frozen=True)
class Metrics:
    """Every counter, histogram and in-process gauge, by its contract name less ``telethon_`` and ``_total``."""

    tenants: TenantLabels
    auth_qr_start: TenantCounter
    auth_qr_published: TenantCounter
    auth_qr_scanned: TenantCounter
    auth_qr_password: TenantCounter
    auth_qr_success: TenantCounter
    auth_qr_expired: TenantCounter
    auth_qr_failed: TenantCounter
    auth_qr_lost: TenantCounter
    auth_qr_reused: TenantCounter
    auth_qr_resumed: TenantCounter
    auth_qr_timeout: TenantCounter
    auth_qr_migrated: TenantCounter
    ownership_mismatch: TenantCounter
    floodwait: Counter
    floodwait_api_gate: Counter
    requests: Counter
    session_validations: Counter
    session_leases: Counter
    backups: Counter
    key_unwraps: Counter
    webhook_deliveries: Counter
    webhooks_disabled: TenantCounter
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
    warm_connections: Gauge
    validator_paused: Gauge
    backup_gaps: Gauge


def make_metrics(registry: CollectorRegistry | None = None, *, max_tenants: int = 200) -> Metrics:
    """Register the metrics, each at 0 for every known value of its labels.

    Args:
        registry: None keeps them out of any registry's output; a process that is scraped passes its own.
        max_tenants: how many tenants have a label of their own.
    """
    tenants = TenantLabels(max_tenants)

    def counter(name: str, text: str, **labels: Collection[str]) -> Counter:
        made = Counter(name, text, tuple(labels), namespace="telethon", registry=registry)
        if labels:
            begin_at_zero(made, labels)
        return made

    def by_tenant(name: str, text: str, **labels: Collection[str]) -> TenantCounter:
        made = Counter(name, text, ("tenant_id", *labels), namespace="telethon", registry=registry)
        return TenantCounter(made, tenants, labels)

    def histogram(name: str, text: str, buckets: tuple[float, ...], **labels: Collection[str]) -> Histogram:
        made = Histogram(name, text, tuple(labels), namespace="telethon", buckets=buckets, registry=registry)
        if labels:
            begin_at_zero(made, labels)
        return made

    return Metrics(
        tenants=tenants,
        auth_qr_start=by_tenant("auth_qr_start", "Logins started."),
        auth_qr_published=by_tenant("auth_qr_published", "Logins whose first QR code was published."),
        auth_qr_scanned=by_tenant("auth_qr_scanned", "Logins whose code somebody scanned, or typed."),
        auth_qr_password=by_tenant("auth_qr_password", "Logins that came to ask for a 2FA password."),
        auth_qr_success=by_tenant("auth_qr_success", "Logins that ended authorized."),
        auth_qr_expired=by_tenant("auth_qr_expired", "Logins that ended expired."),
        auth_qr_failed=by_tenant("auth_qr_failed", "Logins that ended failed.", reason=known.LOGIN_FAILURE_REASONS),
        auth_qr_lost=by_tenant(
            "auth_qr_lost",
            "Logins that ended without a session and without another in their place, by the status that they had.",
            status=known.LIVE_STATUSES,
            end=known.LOSING_ENDS,
        ),
        auth_qr_reused=by_tenant("auth_qr_reused", "Logins answered with an active session."),
        auth_qr_resumed=by_tenant("auth_qr_resumed", "Logins that a worker took over on their auth key."),
        auth_qr_timeout=by_tenant("auth_qr_timeout", "Telegram calls of logins that ran into their time limit."),
        auth_qr_migrated=by_tenant(
            "auth_qr_migrated", "Moves of a login to another data centre.", call=known.MOVING_CALLS
        ),
        ownership_mismatch=by_tenant("ownership_mismatch", "Logins by another account than expected."),
        floodwait=counter("floodwait", "FLOOD_WAIT answers from Telegram.", method=known.TELEGRAM_METHODS),
        floodwait_api_gate=counter(
            "floodwait_api_gate",
            "Times that waits of several people closed the gate of a whole api_id.",
            method=known.TELEGRAM_METHODS,
        ),
        requests=counter(
            "requests", "Requests to Telegram.", method=known.TELEGRAM_METHODS, outcome=known.REQUEST_OUTCOMES
        ),
        session_validations=counter(
            "session_validations", "Validations of sessions.", outcome=known.COUNTED_VALIDATIONS
        ),
        session_leases=counter("session_leases", "Calls on leases.", outcome=known.LEASE_OUTCOMES),
        backups=counter("backups", "Objects backed up.", outcome=known.BACKUP_OUTCOMES),
        key_unwraps=counter("key_unwraps", "Data encryption keys unwrapped."),
        background_restarts=counter(
            "background_restarts", "Background loops that ended and were started again.", loop=known.BACKGROUND_LOOPS
        ),
        pruned_rows=counter("pruned_rows", "Rows that had been kept for long enough.", table=known.PRUNED_TABLES),
        overdue_logins=counter("overdue_logins", "Logins that outlived their life and were ended by the sweep."),
        key_log_outs=counter(
            "key_log_outs", "Log-outs of auth keys that logins left behind.", outcome=known.KEY_LOG_OUT_OUTCOMES
        ),
        webhook_deliveries=counter("webhook_deliveries", "Tries to deliver a webhook.", outcome=known.WEBHOOK_OUTCOMES),
        webhooks_disabled=by_tenant("webhooks_disabled", "Webhook endpoints disabled for their failures."),
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
        request_duration_seconds=histogram(
            "request_duration_seconds", "Requests to Telegram.", _FAST, method=known.TELEGRAM_METHODS
        ),
        warm_connections=Gauge(
            "warm_connections",
            "Connections that have made their auth key and wait for a login.",
            namespace="telethon",
            registry=registry,
        ),
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
