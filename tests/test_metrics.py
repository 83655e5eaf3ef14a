"""The gauges that are read from the database when somebody scrapes."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from app.logins.start import NewLogin, start_login
from app.metrics import StateCollector
from tests.builders import make_core, make_settings


def test_gauges_describe_the_database(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """Pending logins by tenant, sessions by every status, the age of the active key."""
    core = make_core(make_settings(database_url=database_url, redis_url=redis_url, key_file=tmp_path / "key"))
    for tenant in ("alice", "alice", "bob"):
        start_login(core, tenant_id=tenant, request=NewLogin())
    registry = CollectorRegistry()
    registry.register(StateCollector(core.transaction))
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
    registry.register(StateCollector(core.transaction))
    assert generate_latest(registry) == b""
