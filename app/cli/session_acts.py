"""What ``sessions`` does to a session: validate, revoke, lease. The workers do the work at Telegram; these wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import click
from pydantic import BaseModel, Field

from app.cli.custody import open_core
from app.cli.database import cli_actor
from app.cli.output import json_option, print_one
from app.clock import Timestamp
from app.errors import Unavailable
from app.sessions.leases import acquire_lease, release_lease, renew_lease
from app.sessions.planning import validate_soon
from app.sessions.read import SessionView, read_session
from app.sessions.revocation import revoke_opened, revoke_session
from app.telegram.session_formats import LIBRARIES, SessionFormat
from app.tenants.store import read_tenant

_LOOK_SECONDS = 0.5

tenant_option = click.option("--tenant", "tenant_id", required=True, help="Whose session it is.")
_wait_option = click.option(
    "--wait-seconds",
    type=click.IntRange(min=0),
    default=30,
    show_default=True,
    help="How long to wait for the workers.",
)
_ttl_option = click.option(
    "--ttl-seconds", type=click.IntRange(10, 3600), default=600, show_default=True, help="For how long, from now."
)


class OpenedView(BaseModel):
    """A lease as the command prints it: with the whole account in it."""

    lease_id: str
    fencing_token: int
    expires_at: Timestamp
    session_string: str = Field(repr=False)
    telegram_user_id: int | None
    dc_id: int
    api_id: int


class LeaseView(BaseModel):
    """A lease that goes on."""

    lease_id: str
    fencing_token: int
    expires_at: Timestamp


class RevokedView(BaseModel):
    """How many sessions are being revoked."""

    sessions: int


@click.command("show")
@click.argument("session_id")
@tenant_option
@json_option
def show(session_id: str, tenant_id: str, as_json: bool) -> None:
    """Show SESSION_ID. Its string session is not among it: see lease."""
    with open_core() as core:
        found = read_session(core.transaction, tenant_id=tenant_id, session_id=session_id)
    print_one(found, as_json=as_json)


@click.command("validate")
@click.argument("session_id")
@tenant_option
@_wait_option
@json_option
def validate(session_id: str, tenant_id: str, wait_seconds: int, as_json: bool) -> None:
    """Have SESSION_ID validated now, and show what came of it."""
    with open_core(sends=True) as core:
        before = read_session(core.transaction, tenant_id=tenant_id, session_id=session_id)
        validate_soon(core, tenant_id=tenant_id, session_id=session_id)
        found = _wait(
            partial(read_session, core.transaction, tenant_id=tenant_id, session_id=session_id),
            until=lambda now: (
                now.last_validated_at != before.last_validated_at or now.status not in ("active", "quarantined")
            ),
            wait_seconds=wait_seconds,
            else_say="no worker has looked at it yet; it is validated as soon as one does",
        )
    print_one(found, as_json=as_json)


@click.command("revoke")
@click.argument("session_id")
@tenant_option
@_wait_option
@json_option
def revoke(session_id: str, tenant_id: str, wait_seconds: int, as_json: bool) -> None:
    """Log SESSION_ID out at Telegram and erase it. A lease on it ends within 60 s."""
    with open_core(sends=True) as core:
        revoke_session(core, tenant_id=tenant_id, session_id=session_id, actor=cli_actor(), reason="requested")
        found = _wait(
            partial(read_session, core.transaction, tenant_id=tenant_id, session_id=session_id),
            until=lambda now: now.status == "revoked",
            wait_seconds=wait_seconds,
            else_say="Telegram has not confirmed it yet; it is tried until it has",
        )
    print_one(found, as_json=as_json)


@click.command("revoke-opened")
@tenant_option
@click.option("--holder", help="Who leased them, as it was said then.")
@click.option("--api-key-id", help="The key that they were leased with.")
@click.option("--opened-since", type=click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S")), help="UTC.")
@click.option("--all", "everything", is_flag=True, help="Every session of the tenant's. Goes alone.")
@json_option
def revoke_all_opened(
    tenant_id: str,
    holder: str | None,
    api_key_id: str | None,
    opened_since: datetime | None,
    everything: bool,
    as_json: bool,
) -> None:
    """After a leak: revoke every session that somebody has opened. See docs/runbooks/leaked-key.md.

    Those that meet all that is said.
    """
    said = any((holder, api_key_id, opened_since))
    if said == everything:
        raise click.UsageError("Say --holder, --api-key-id or --opened-since; or --all, alone, for every session.")
    with open_core(sends=True) as core:
        read_tenant(core.transaction, tenant_id=tenant_id)
        count = revoke_opened(
            core,
            tenant_id=tenant_id,
            actor=cli_actor(),
            holder=holder,
            api_key_id=api_key_id,
            opened_since=opened_since.replace(tzinfo=UTC) if opened_since is not None else None,
        )
    print_one(RevokedView(sessions=count), as_json=as_json)


@click.command("lease")
@click.argument("session_id")
@tenant_option
@click.option("--holder", required=True, help="Who uses the session: what others are told who find it leased.")
@click.option("--purpose", help="Why, for the audit.")
@click.option(
    "--format",
    "session_format",
    type=click.Choice(list(LIBRARIES)),
    default="telethon",
    show_default=True,
    help="The library that the string session is for.",
)
@_ttl_option
@json_option
def lease(
    session_id: str,
    tenant_id: str,
    holder: str,
    purpose: str | None,
    session_format: SessionFormat,
    ttl_seconds: int,
    as_json: bool,
) -> None:
    """Lease SESSION_ID and print its string session, which is the whole account: the audit says that you did.

    Renew it or release it with the lease's id; nobody else gets the session until it ends.
    """
    with open_core() as core:
        taken = acquire_lease(
            core,
            tenant_id=tenant_id,
            session_id=session_id,
            holder=holder,
            ttl_seconds=ttl_seconds,
            actor=cli_actor(),
            purpose=purpose,
            session_format=session_format,
        )
    print_one(OpenedView.model_validate(taken, from_attributes=True), as_json=as_json)


@click.command("renew-lease")
@click.argument("session_id")
@click.argument("lease_id")
@tenant_option
@_ttl_option
@json_option
def renew(session_id: str, lease_id: str, tenant_id: str, ttl_seconds: int, as_json: bool) -> None:
    """Let the lease LEASE_ID of SESSION_ID go on."""
    with open_core() as core:
        renewed = renew_lease(
            core,
            tenant_id=tenant_id,
            session_id=session_id,
            lease_id=lease_id,
            ttl_seconds=ttl_seconds,
            actor=cli_actor(),
        )
    print_one(LeaseView.model_validate(renewed, from_attributes=True), as_json=as_json)


@click.command("release-lease")
@click.argument("session_id")
@click.argument("lease_id")
@tenant_option
def release(session_id: str, lease_id: str, tenant_id: str) -> None:
    """Give the lease LEASE_ID of SESSION_ID up. Disconnect before."""
    with open_core() as core:
        release_lease(core, tenant_id=tenant_id, session_id=session_id, lease_id=lease_id, actor=cli_actor())
    click.echo(f"{session_id} is free again.")


COMMANDS = (show, validate, revoke, revoke_all_opened, lease, renew, release)


def _wait(
    look: Callable[[], SessionView], *, until: Callable[[SessionView], bool], wait_seconds: int, else_say: str
) -> SessionView:
    give_up_at = time.monotonic() + wait_seconds
    while not until(now := look()):
        if time.monotonic() >= give_up_at:
            raise Unavailable(f"{now.id} is {now.status}: {else_say}.")
        time.sleep(_LOOK_SECONDS)
    return now
