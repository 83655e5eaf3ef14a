"""Two roles at PostgreSQL: the owner, who migrates, and the service, who owns nothing and cannot change the audit.

The service reads and writes every table; of the audit it may only add rows, and prune those that are older than
``AUDIT_RETENTION_DAYS``, by a policy that the owner sets. So who has taken over a process cannot take back what it did.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ProgrammingError

from app.database import session_settings
from app.errors import SettingsError
from app.logs import get_logger

_log = get_logger(__name__)

APPEND_ONLY = {"audit_events": "at", "audit_seals": "last_event_at"}
"""Tables that are only ever added to, each with the column that says how old a row is."""


def grant_service_role(engine: Engine, *, service_url: str, audit_retention_days: int) -> str:
    """Give the role of ``DATABASE_URL`` what a process needs, and no more; make the role when there is none. May be repeated.

    Args:
        engine: the owner's.

    Returns:
        The role's name.

    Raises:
        SettingsError: DATABASE_URL names the owner itself.
    """
    url = make_url(service_url)
    if not url.username or url.username == engine.url.username:
        raise SettingsError("DATABASE_URL must name another role than DATABASE_OWNER_URL, which owns the tables")
    role = engine.dialect.identifier_preparer.quote(url.username)
    with engine.begin() as connection:
        known = connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": url.username})
        if known is None:
            connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN PASSWORD {_literal(url)}")
        for statement in _statements(role, audit_retention_days):
            connection.exec_driver_sql(statement)
        _bound(connection, role)
    return url.username


def _bound(connection: Connection, role: str) -> None:
    """Bound what the role does where nobody else does: a pooler drops what a connection asks for.

    Who may not change the role leaves it as it is; the doctor says so where it matters.
    """
    database = connection.dialect.identifier_preparer.quote(str(connection.engine.url.database))
    try:
        with connection.begin_nested():
            for name, value in session_settings().items():
                connection.exec_driver_sql(f"ALTER ROLE {role} IN DATABASE {database} SET {name} = '{value}'")
    except ProgrammingError as exc:
        _log.warning("migrate.role_not_bounded", role=role, error=str(exc.orig).strip())


def _literal(url: URL) -> str:
    """The password as an SQL literal: roles are made by statements that take no parameters."""
    password = str(url.password or "")
    return "'" + password.replace("'", "''").replace("%", "%%") + "'"


def _statements(role: str, audit_retention_days: int) -> list[str]:
    statements = [
        f"GRANT USAGE ON SCHEMA public TO {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}",
        f"REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {role}",
    ]
    for table, moment in APPEND_ONLY.items():
        statements += [
            f"REVOKE UPDATE ON {table} FROM {role}",
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"DROP POLICY IF EXISTS read_all ON {table}",
            f"DROP POLICY IF EXISTS add_any ON {table}",
            f"DROP POLICY IF EXISTS prune_old ON {table}",
            f"CREATE POLICY read_all ON {table} FOR SELECT USING (true)",
            f"CREATE POLICY add_any ON {table} FOR INSERT WITH CHECK (true)",
            f"CREATE POLICY prune_old ON {table} FOR DELETE "
            f"USING ({moment} < now() - make_interval(days => {audit_retention_days:d}))",
        ]
    return statements
