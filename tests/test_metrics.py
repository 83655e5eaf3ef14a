"""The gauges that are read from the database when somebody scrapes."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import text

from app.core import Core
from app.logins.serving import NewLogin
from app.logins.start import start_login
from app.metrics import StateCollector
from app.redis_state import SESSION_COUNTS_KEY
from tests.builders import make_core, make_settings
from tests.sessions.rows import give_session


def test_gauges_describe_the_database(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """Pending logins by tenant, sessions by every status, the age of the active key."""
    core = make_core(make_settings(database_url=database_url, redis_url=redis_url, key_file=tmp_path / "key"))
    for tenant in ("alice", "alice", "bob"):
        start_login(core, tenant_id=tenant, request=NewLogin())
    registry = CollectorRegistry()
    registry.register(StateCollector(core.transaction, core.redis))
    text = generate_latest(registry).decode()
    assert 'telethon_logins_pending{tenant_id="alice"} 2.0' in text
    assert 'telethon_logins_pending{tenant_id="bob"} 1.0' in text
    assert 'telethon_sessions{status="active"} 0.0' in text
    assert "telethon_encryption_key_age_seconds" in text
    core.engine.dispose()


def test_a_database_that_is_away_costs_the_gauges_and_not_the_scrape(redis_url: str, tmp_path: Path) -> None:
    """The other metrics must be there above all when something is down."""
    settings = make_settings(
        database_url="postgresql+psycopg2://nobody@127.0.0.1:1/none", redis_url=redis_url, key_file=tmp_path / "key"
    )
    core = make_core(settings, tenants=())
    registry = CollectorRegistry()
    registry.register(StateCollector(core.transaction, core.redis))
    assert generate_latest(registry) == b""


def test_many_sessions_are_counted_once_a_minute_for_all(core: Core) -> None:
    """No scrape counts a large table: what one process has counted serves the others."""

    def scrape() -> float:
        registry = CollectorRegistry()
        registry.register(StateCollector(core.transaction, core.redis))
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
