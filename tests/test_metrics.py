"""What a process tells before anything has happened, and the gauges that are read from the stores at a scrape."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import text

from app.core import Core
from app.logins.serving import NewLogin
from app.logins.start import start_login
from app.logins.view import FailureReason
from app.metrics import make_metrics
from app.metrics_labels import (
    LIVE_STATUSES,
    LOGIN_FAILURE_REASONS,
    LOSING_ENDS,
    VALIDATION_OUTCOMES,
    WEBHOOK_OUTCOMES,
)
from app.metrics_state import StateCollector
from app.metrics_tenants import OTHER_TENANTS, TenantLabels, know_tenants
from app.models import FINAL_LOGIN_STATUSES, LIVE_LOGIN_STATUSES, TelegramSession, Tenant
from app.periodic import PERIODIC_TASKS, record_success
from app.redis_state import SESSION_COUNTS_KEY
from app.sessions.verdicts import ValidationOutcome
from app.webhooks.sending import Outcome as WebhookOutcome
from tests.builders import make_core, make_settings
from tests.sessions.rows import give_session


def state_of(core: Core) -> StateCollector:
    """The collector of these stores, with backups."""
    return collector_of(core, tenants=core.metrics.tenants)


def collector_of(core: Core, *, tenants: TenantLabels, backed_up: bool = True) -> StateCollector:
    """The collector of these stores, for some tenants, with or without a bucket."""
    days = core.settings.key_rotation_days
    return StateCollector(core.transaction, core.redis, tenants=tenants, rotation_days=days, backed_up=backed_up)


def test_what_never_happened_is_told_as_zero() -> None:
    """A ratio has an answer from the start: each known value of a label is there before it is counted."""
    registry = CollectorRegistry()
    make_metrics(registry).tenants.know(["alice"])

    def told(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"telethon_{name}_total", labels)

    assert told("auth_qr_start", tenant_id="alice") == 0
    assert told("auth_qr_failed", tenant_id="alice", reason="internal_error") == 0
    assert told("floodwait", method="auth.exportLoginToken") == 0
    assert told("requests", method="auth.exportLoginToken", outcome="flood_wait") == 0
    assert told("session_leases", outcome="session_leased") == 0
    empty = [family.name for family in registry.collect() if not family.samples]
    assert not empty


def test_known_values_are_those_that_are_counted() -> None:
    """What the metrics' module cannot import it must not forget."""
    assert set(LOGIN_FAILURE_REASONS) == set(get_args(FailureReason))
    assert set(LIVE_STATUSES) == set(LIVE_LOGIN_STATUSES)
    assert set(LOSING_ENDS) == {*FINAL_LOGIN_STATUSES} - {"authorized"}
    assert set(VALIDATION_OUTCOMES) == set(get_args(ValidationOutcome))
    assert set(WEBHOOK_OUTCOMES) == set(get_args(WebhookOutcome))


def test_tenants_beyond_the_limit_share_a_label() -> None:
    """The first ones keep labels of their own; a thousand more cost one label."""
    registry = CollectorRegistry()
    metrics = make_metrics(registry, max_tenants=2)
    metrics.tenants.know(["alice"])
    for tenant_id in ("bob", "carol", "dave", "alice"):
        metrics.auth_qr_start.labels(tenant_id=tenant_id).inc()
    counted = {
        sample.labels["tenant_id"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "telethon_auth_qr_start_total"
    }
    assert counted == {"alice": 1, "bob": 1, OTHER_TENANTS: 2}


def test_a_process_knows_the_oldest_tenants_from_its_start(core: Core) -> None:
    """Whichever process counts, the same tenants have labels of their own, and stand at 0."""
    with core.transaction() as db:
        db.get_one(Tenant, "bob").created_at -= timedelta(days=1)
    registry = CollectorRegistry()
    metrics = make_metrics(registry, max_tenants=1)
    know_tenants(core.transaction, metrics.tenants)
    assert registry.get_sample_value("telethon_auth_qr_start_total", {"tenant_id": "bob"}) == 0
    assert registry.get_sample_value("telethon_auth_qr_start_total", {"tenant_id": "alice"}) is None


def test_pending_logins_of_tenants_beyond_the_limit_are_one_figure(core: Core) -> None:
    """The gauge that is read from the database has the same labels as what is counted."""
    for tenant in ("alice", "bob", "bob"):
        start_login(core, tenant_id=tenant, request=NewLogin())
    tenants = make_metrics(max_tenants=1).tenants
    tenants.know(["alice"])
    registry = CollectorRegistry()
    registry.register(collector_of(core, tenants=tenants))
    assert registry.get_sample_value("telethon_logins_pending", {"tenant_id": "alice"}) == 1
    assert registry.get_sample_value("telethon_logins_pending", {"tenant_id": OTHER_TENANTS}) == 2


def test_periodic_tasks_tell_when_they_last_succeeded(core: Core) -> None:
    """Each task from the start: 0 while it never did."""
    record_success(core.redis, PERIODIC_TASKS[0], at=1_800_000_000.5)
    registry = CollectorRegistry()
    registry.register(state_of(core))
    told = [registry.get_sample_value("telethon_last_success_timestamp_seconds", {"task": t}) for t in PERIODIC_TASKS]
    assert told == [1_800_000_000.5] + [0.0] * (len(PERIODIC_TASKS) - 1)


def test_a_backup_that_never_was_grows_old_with_the_first_session(core: Core) -> None:
    """Backups that never work at all are noticed too; without a bucket nothing is said."""

    def age(*, backed_up: bool = True) -> float | None:
        registry = CollectorRegistry()
        registry.register(collector_of(core, tenants=core.metrics.tenants, backed_up=backed_up))
        return registry.get_sample_value("telethon_backup_age_seconds")

    assert age() == 0
    session_id, _ = give_session(core)
    with core.transaction() as db:
        db.get_one(TelegramSession, session_id).created_at -= timedelta(hours=2)
    assert 7190 < (age() or 0) < 7300
    assert age(backed_up=False) is None


def test_gauges_describe_the_database(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """Pending logins by tenant, sessions by every status, the age of the active key beside the age it may reach."""
    settings = make_settings(
        database_url=database_url, redis_url=redis_url, key_file=tmp_path / "key", key_rotation_days=180
    )
    core = make_core(settings)
    for tenant in ("alice", "alice", "bob"):
        start_login(core, tenant_id=tenant, request=NewLogin())
    registry = CollectorRegistry()
    registry.register(state_of(core))
    text = generate_latest(registry).decode()
    assert 'telethon_logins_pending{tenant_id="alice"} 2.0' in text
    assert 'telethon_logins_pending{tenant_id="bob"} 1.0' in text
    assert 'telethon_sessions{status="active"} 0.0' in text
    assert "telethon_encryption_key_age_seconds" in text
    assert registry.get_sample_value("telethon_encryption_key_rotation_seconds") == 180 * 86400
    core.engine.dispose()


def test_a_database_that_is_away_costs_the_gauges_and_not_the_scrape(redis_url: str, tmp_path: Path) -> None:
    """The other metrics must be there above all when something is down."""
    settings = make_settings(
        database_url="postgresql+psycopg2://nobody@127.0.0.1:1/none", redis_url=redis_url, key_file=tmp_path / "key"
    )
    core = make_core(settings, tenants=())
    registry = CollectorRegistry()
    registry.register(state_of(core))
    assert {family.name for family in registry.collect()} == {
        "telethon_last_success_timestamp_seconds",
        "telethon_encryption_key_rotation_seconds",
    }


def test_many_sessions_are_counted_once_a_minute_for_all(core: Core) -> None:
    """No scrape counts a large table: what one process has counted serves the others."""

    def scrape() -> float:
        registry = CollectorRegistry()
        registry.register(state_of(core))
        return registry.get_sample_value("telethon_sessions", {"status": "active"}) or 0.0

    give_session(core)
    assert scrape() == 1
    with core.transaction() as db:  # as after an ANALYZE of a large table
        db.execute(text("UPDATE pg_class SET reltuples = 1000000 WHERE oid = 'sessions'::regclass"))
    assert scrape() == 1
    give_session(core)
    assert scrape() == 1
    assert 0 < core.redis.ttl(SESSION_COUNTS_KEY) <= 60
    core.redis.delete(SESSION_COUNTS_KEY)
    assert scrape() == 2
