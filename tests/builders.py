"""Builds the parts of a process on a test's own PostgreSQL and Redis."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.core import Core, build_core
from app.models import Tenant
from app.settings import Settings

API_ID, API_HASH = 12345, "0123456789abcdef0123456789abcdef"


def make_settings(*, database_url: str, redis_url: str, key_file: Path, **overrides: Any) -> Settings:
    """Settings of a test's own stores; the key file is made when it is not there."""
    if not key_file.exists():
        key_file.write_bytes(base64.b64encode(os.urandom(32)))
    return Settings(
        _env_file=None,
        database_url=database_url,
        redis_url=redis_url,
        telegram_api_id=API_ID,
        telegram_api_hash=API_HASH,
        local_key_file=key_file,
        **overrides,
    )


@dataclass
class Sent:
    """A dispatch that only remembers: for tests of what is sent, not of what a worker makes of it.

    ``broker_away``: nothing can be sent.
    """

    tasks: list[tuple[str, ...]] = field(default_factory=list)
    broker_away: bool = False

    def __call__(self, task: str, *args: str, countdown_seconds: float = 0.0) -> bool:
        if self.broker_away:
            return False
        self.tasks.append((task, *args))
        return True


def make_core(settings: Settings, *, sent: Sent | None = None, tenants: tuple[str, ...] = ("alice", "bob")) -> Core:
    """A process's parts, with the cast's tenants in the database."""
    core = build_core(settings, role="test", dispatch=sent or Sent())
    if not tenants:
        return core
    with core.transaction() as db:
        for tenant in tenants:
            if db.get(Tenant, tenant) is None:
                db.add(Tenant(id=tenant, name=tenant.capitalize()))
    return core
