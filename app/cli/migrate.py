"""``migrate``: bring the database to this version's schema, check that it is there, or wait for it."""

from __future__ import annotations

import time

import click
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from app import migrations
from app.cli.database import open_engine
from app.errors import Unavailable
from app.grants import grant_service_role
from app.settings import DatabaseSettings, load_some_settings

_PATIENCE_SECONDS = 600.0
_PAUSE_SECONDS = 1.0
# Rights come after the tables, in a transaction of their own.
_MAY_READ_ALL = text(
    "SELECT bool_and(has_table_privilege(format('%I.%I', schemaname, tablename), 'SELECT')) "
    "FROM pg_tables WHERE schemaname = current_schema()"
)


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; list the differences and exit with 1 if there are any.")
@click.option("--wait", is_flag=True, help="Change nothing; wait ten minutes at most until somebody else has migrated.")
def migrate(check: bool, wait: bool) -> None:
    """Apply the migrations that the database lacks. Safe to run from many places at once.

    With DATABASE_OWNER_URL it works as that role, and grants DATABASE_URL's role what the service needs.
    """
    settings = load_some_settings(DatabaseSettings)
    if wait:
        _wait(settings)
        return
    with open_engine(settings, as_owner=True) as engine:
        try:
            differences = _differences(engine) if check else []
            revision = "" if check else migrations.migrate(engine)
            if settings.database_owner_url is not None and not check:
                days = settings.audit_retention_days
                grant_service_role(engine, service_url=settings.database_url, audit_retention_days=days)
        except OperationalError as exc:
            raise Unavailable(f"The database cannot be reached: {str(exc.orig).strip().splitlines()[0]}") from exc
    if not check:
        click.echo(f"The database is at revision {revision}.")
    elif differences:
        raise click.ClickException("\n".join(("The database differs from the models:", *differences)))
    else:
        click.echo("The database agrees with the models.")


def _wait(settings: DatabaseSettings) -> None:
    """Return when the database has what this version needs. A database that is away may come."""
    until = time.monotonic() + _PATIENCE_SECONDS
    told = ""
    with open_engine(settings) as engine:
        while lack := _lack(engine):
            if time.monotonic() > until:
                raise Unavailable(f"{lack}.")
            if lack != told:
                click.echo(f"{lack}; waiting.")
                told = lack
            time.sleep(_PAUSE_SECONDS)
    click.echo("The database has what this version needs.")


def _lack(engine: Engine) -> str | None:
    """What keeps this version from using the database, or None."""
    try:
        with engine.connect() as connection:
            current = migrations.current_revision(connection)
            granted = connection.scalar(_MAY_READ_ALL)
    except DBAPIError as exc:  # away, or it does not know this role yet
        return f"The database cannot be used: {str(exc.orig).strip().splitlines()[0]}"
    head = migrations.head_revision()
    if migrations.is_behind(current, head=head):
        return f"The database is at revision {current or 'none'}, this version needs {head}"
    return None if granted else "The role of DATABASE_URL may not read every table yet"


def _differences(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        current = migrations.current_revision(connection)
    if current != migrations.head_revision():
        return [f"  it is at revision {current or 'none'}, the newest is {migrations.head_revision()}"]
    return [f"  {difference}" for difference in migrations.drift(engine)]
