"""The dependencies of a process, as readiness checks."""

from __future__ import annotations

from functools import cache

from sqlalchemy import text

from app.core import Core
from app.errors import AppError
from app.readiness import Check
from app.redis_state import INBOX_CHANNEL
from app.vault.sealing import Place


class _Down(AppError):
    """Raised by a check whose dependency answers, and not as it should."""

    code = "not_ready"


def make_checks(core: Core) -> dict[str, Check]:
    """Name each dependency with the cheapest question that a working one answers."""
    return {
        "postgres": Check(lambda: _ask_postgres(core)),
        "migrations": Check(lambda: _ask_migrations(core)),
        "redis": Check(lambda: _ask_redis(core)),
        "keys": Check(lambda: _ask_keys(core)),
        # Logins wait in their queue until a worker comes, so that the web can do without one for a while.
        "login_workers": Check(lambda: _ask_workers(core), needed=False),
    }


def _ask_postgres(core: Core) -> str:
    with core.transaction() as db:
        db.execute(text("SELECT 1"))
    return "answers"


def _ask_migrations(core: Core) -> str:
    from app import migrations  # Alembic takes a quarter of a second, which a start need not wait for

    head = _head_revision()
    with core.engine.connect() as connection:
        current = migrations.current_revision(connection)
    if migrations.is_behind(current, head=head):
        raise _Down(f"The database is at revision {current}, this version needs {head}: run python -m app migrate.")
    return f"revision {current}"


@cache
def _head_revision() -> str | None:
    from app import migrations

    return migrations.head_revision()


def _ask_redis(core: Core) -> str:
    core.redis.ping()
    return "answers"


def _ask_keys(core: Core) -> str:
    key_id = core.keyring.seal(Place("readiness", "", ""), b"").key_id
    return f"seals under {key_id}"


def _ask_workers(core: Core) -> str:
    # Every login worker listens to this channel, so that Redis knows without asking each of them.
    [(_, listening)] = core.redis.pubsub_numsub(INBOX_CHANNEL)
    if not listening:
        raise _Down("No login worker is listening.")
    return f"{listening} listening"
