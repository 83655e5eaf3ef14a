"""PostgreSQL with TLS, and PgBouncer in transaction mode in front of it, with TLS on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from app.backups.alone import alone
from app.backups.plan import open_plan
from app.database import make_engine
from app.doctor.database import look_at_database
from app.grants import grant_service_role
from app.migrations import migrate
from devstack.ports import HOST, free_port
from devstack.programs import running
from tests.engines.certificates import Authority
from tests.engines.programs import PASSWORD, pgbouncer, postgres_with_tls


class Database(NamedTuple):
    """A migrated database behind TLS, and the ways to it."""

    owner_url: str
    service_url: str
    pooled_url: str
    authority: Authority


@pytest.fixture(scope="module")
def database(engine_folder: Path) -> Iterator[Database]:
    """PostgreSQL with a certificate of our own authority; PgBouncer with another one of it."""
    authority = Authority(engine_folder / "certificates")
    checked = f"?sslmode=verify-full&sslrootcert={authority.certificate}"
    port, pooled_port = free_port(), free_port()
    certificate, key = authority.sign("postgres")
    server = postgres_with_tls(engine_folder / "tls", port=port, certificate=certificate, key=key)
    owner_url = f"postgresql+psycopg2://latchkey:{PASSWORD}@{HOST}:{port}/postgres{checked}"
    service_url = f"postgresql+psycopg2://latchkey_service:{PASSWORD}@{HOST}:{port}/postgres{checked}"
    with running(server):
        owner = make_engine(owner_url)
        migrate(owner)
        grant_service_role(owner, service_url=service_url, audit_retention_days=400)
        owner.dispose()
        certificate, key = authority.sign("pgbouncer")
        key.chmod(0o644)  # PgBouncer reads it as another user
        pooler = pgbouncer(
            engine_folder / "pgbouncer",
            port=pooled_port,
            server={"host": HOST, "port": str(port), "dbname": "postgres"},
            users={"latchkey_service": PASSWORD},
            server_tls_sslmode="verify-full",
            server_tls_ca_file=str(authority.certificate),
            client_tls_sslmode="require",
            client_tls_cert_file=str(certificate),
            client_tls_key_file=str(key),
        )
        with running(pooler):
            yield Database(owner_url, service_url, service_url.replace(f":{port}/", f":{pooled_port}/"), authority)


@pytest.fixture
def pooled(database: Database) -> Iterator[Engine]:
    """A process's engine, through PgBouncer."""
    engine = make_engine(database.pooled_url)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("way", ["service_url", "pooled_url"])
def test_the_certificate_is_checked(database: Database, way: str, tmp_path: Path) -> None:
    """Who has a certificate of another authority is not talked to."""
    url = getattr(database, way)
    engine = make_engine(url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM tenants")) == 0
        assert connection.scalar(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    engine.dispose()
    stranger = Authority(tmp_path, name="a stranger")
    strange = make_engine(url.replace(str(database.authority.certificate), str(stranger.certificate)))
    with pytest.raises(OperationalError, match="certificate verify failed"):
        strange.connect()


@pytest.mark.parametrize("way", ["service_url", "pooled_url"])
def test_the_doctor_is_content(database: Database, way: str) -> None:
    """Directly and through the pooler: version, TLS, role, time limits, schema."""
    engine = make_engine(getattr(database, way))
    findings = list(look_at_database(engine))
    engine.dispose()
    assert {each.state for each in findings} == {"ok"}, findings


def test_a_pooler_drops_no_time_limit(pooled: Engine) -> None:
    """PgBouncer ignores what a connection asks for at its start; the role has it."""
    with pooled.connect() as connection:
        shown = {
            name: connection.scalar(text(f"SHOW {name}"))
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "TimeZone")
        }
    assert shown == {
        "statement_timeout": "30s",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "30s",
        "TimeZone": "UTC",
    }


def test_the_doctor_says_what_a_pooler_drops(database: Database, pooled: Engine) -> None:
    """Where the role has no limits of its own, nothing bounds a statement."""
    owner = make_engine(database.owner_url)
    with owner.begin() as connection:
        connection.execute(text("ALTER ROLE latchkey_service IN DATABASE postgres RESET ALL"))
        # The pooler's connections have begun with what the role had.
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'latchkey_service'")
        )
    try:
        [warning] = [each for each in look_at_database(pooled) if each.state != "ok"]
        assert "statement_timeout" in warning.found
    finally:
        grant_service_role(owner, service_url=database.service_url, audit_retention_days=400)
        owner.dispose()


def test_one_backup_at_a_time_through_a_pooler(pooled: Engine) -> None:
    """The lock is the run's and not a connection's, which others get: nobody has it meanwhile, the next one has it after."""
    for _ in range(8):  # more than PgBouncer has connections
        with alone(pooled) as mine, alone(pooled) as others:
            assert (mine, others) == (True, False)


def test_a_plan_of_a_restore_through_a_pooler(pooled: Engine) -> None:
    """Its temporary table is there as long as it, and gone with it."""
    for _ in range(8):
        with open_plan(pooled) as plan:
            assert plan.count_sessions(None) == 0
            with pooled.connect() as connection:
                assert connection.scalar(text("SELECT 1")) == 1
