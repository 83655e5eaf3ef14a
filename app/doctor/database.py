"""PostgreSQL: does it answer, is its schema this version's, whose role are we, who can read along, does its clock agree."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import URL, Connection, Engine, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from app import migrations
from app.clock import utc_now
from app.database import session_settings
from app.doctor.finding import Finding, is_this_machine, reason

_CLOCK_TOLERANCE_SECONDS = 2.0  # login tokens live 30 s, initData and webhooks minutes
_CHECKED_CERTIFICATE = ("verify-full", "verify-ca")
_ENCRYPTED = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
_OWNED = text(
    "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND pg_has_role(current_user, tableowner, 'USAGE')"
)
_FORBIDDEN = text(
    "SELECT coalesce(array_agg(tablename::text ORDER BY tablename), '{}') FROM pg_tables WHERE schemaname = current_schema() "
    "AND tablename <> 'alembic_version' AND NOT (has_table_privilege(format('%I.%I', schemaname, tablename), 'SELECT') "
    "AND has_table_privilege(format('%I.%I', schemaname, tablename), 'INSERT'))"
)


def look_at_database(engine: Engine) -> Iterator[Finding]:
    """Ask for its version; then, if it answers, for everything else."""
    try:
        with engine.connect() as connection:
            version = ".".join(map(str, connection.dialect.server_version_info or ()))
            yield Finding("database", "ok", f"PostgreSQL {version}")
            yield from _tls(engine.url, connection)
            yield from _role(connection)
            yield from _bounds(connection)
            yield _schema(connection)
    except SQLAlchemyError as exc:
        yield Finding("database", "failed", reason(exc), "start PostgreSQL, or mend DATABASE_URL")


def _schema(connection: Connection) -> Finding:
    head = migrations.head_revision()
    revision = migrations.current_revision(connection)
    if revision == head:
        return Finding("schema", "ok", f"revision {revision}")
    if migrations.is_behind(revision, head=head):
        return Finding("schema", "failed", f"revision {revision}, newest {head}", "run: python -m app migrate")
    return Finding(
        "schema", "warning", f"revision {revision} is of a newer version; this one knows {head}", "finish the upgrade"
    )


def _tls(url: URL, connection: Connection) -> Iterator[Finding]:
    if is_this_machine(url.host):
        return
    if not connection.scalar(_ENCRYPTED):
        advice = "add ?sslmode=verify-full to DATABASE_URL, and give PostgreSQL a certificate"
        yield Finding("database", "warning", f"no TLS to {url.host}: passwords and rows travel in the open", advice)
    elif url.query.get("sslmode") not in _CHECKED_CERTIFICATE:
        advice = "add sslmode=verify-full to DATABASE_URL"
        yield Finding("database", "warning", "TLS, but nobody checks whose certificate it is", advice)


def _bounds(connection: Connection) -> Iterator[Finding]:
    """A pooler drops what our connections ask for; then the role must have it."""
    unbounded = [name for name in session_settings() if connection.scalar(text(f"SHOW {name}")) == "0"]
    if unbounded:
        yield Finding(
            "database",
            "warning",
            f"no {', '.join(unbounded)}: a pooler stands in between, and drops what we ask for",
            "run python -m app migrate with DATABASE_OWNER_URL, past the pooler: it gives the role these settings",
        )


def _role(connection: Connection) -> Iterator[Finding]:
    if connection.scalar(_OWNED):
        yield Finding(
            "role",
            "warning",
            "DATABASE_URL's role owns the tables: whoever takes over a process can change the audit",
            "give DATABASE_URL another role, the owner's URL to DATABASE_OWNER_URL, and run: python -m app migrate",
        )
    if forbidden := connection.scalar(_FORBIDDEN):
        named = ", ".join(forbidden[:3]) + (", …" if len(forbidden) > 3 else "")
        yield Finding(
            "role",
            "failed",
            f"DATABASE_URL's role may not read and write {named}",
            "run python -m app migrate with DATABASE_OWNER_URL: it grants what is needed",
        )


def look_at_clock(engine: Engine) -> Finding:
    """Compare this machine's clock with the database's."""
    try:
        with engine.connect() as connection:
            theirs: datetime = connection.scalars(select(func.clock_timestamp())).one()
    except SQLAlchemyError:
        return Finding("clock", "warning", "not compared: the database is away", "mend the database first")
    return compare_clocks((utc_now() - theirs).total_seconds(), whose="the database's")


def compare_clocks(off_seconds: float, *, whose: str) -> Finding:
    """Say whether this machine's clock is near enough to another one."""
    if abs(off_seconds) > _CLOCK_TOLERANCE_SECONDS:
        return Finding("clock", "warning", f"{off_seconds:+.1f} s from {whose}", "run NTP on both machines")
    return Finding("clock", "ok", f"{off_seconds:+.2f} s from {whose}")
