"""``migrate``: bring the database to this version's schema, or check that it is there."""

from __future__ import annotations

import click
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from app import migrations
from app.cli.database import open_engine
from app.errors import Unavailable
from app.grants import grant_service_role
from app.settings import DatabaseSettings, load_some_settings


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; list the differences and exit with 1 if there are any.")
def migrate(check: bool) -> None:
    """Apply the migrations that the database lacks. Safe to run from many places at once.

    With DATABASE_OWNER_URL it works as that role, and grants DATABASE_URL's role what the service needs.
    """
    settings = load_some_settings(DatabaseSettings)
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


def _differences(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        current = migrations.current_revision(connection)
    if current != migrations.head_revision():
        return [f"  it is at revision {current or 'none'}, the newest is {migrations.head_revision()}"]
    return [f"  {difference}" for difference in migrations.drift(engine)]
