"""What every process is built from, once: settings, database, Redis, key ring, metrics, dispatch.

Subjects do not import this module's instance; they take the parts they need as arguments. ``web``, ``tasks`` and the
command line build a ``Core`` and pass its parts on.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

import redis
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from app.database import Read, Transaction, make_engine, make_read, make_transaction, make_unpooled_engine
from app.dispatch import Dispatch
from app.metrics import Metrics, make_metrics
from app.redis_state import make_redis
from app.settings import Settings
from app.vault.keyring import KeyRing
from app.vault.providers import make_key_provider


@dataclass(frozen=True)
class Core:
    """The parts of one process.

    ``actor`` names the process in the audit and as the owner of logins.
    """

    settings: Settings
    actor: str
    engine: Engine
    transaction: Transaction
    read: Read
    redis: redis.Redis
    metrics: Metrics
    registry: CollectorRegistry
    keyring: KeyRing
    dispatch: Dispatch


def build_core(
    settings: Settings, *, role: str, dispatch: Dispatch, pool_size: int = 8, statement_seconds: int = 30
) -> Core:
    """Build the parts of a process. Opens no connection yet.

    Args:
        statement_seconds: how long a statement may take; short where somebody waits for the answer.

    Raises:
        SettingsError: the key provider's settings are senseless.
    """
    registry = CollectorRegistry()
    metrics = make_metrics(registry, max_tenants=settings.metrics_max_tenants)
    engine = make_engine(settings.database_url, pool_size=pool_size, statement_seconds=statement_seconds)
    transaction = make_transaction(engine)
    actor = f"{role}@{socket.gethostname()}:{os.getpid()}"
    keyring = KeyRing(
        transaction=make_transaction(make_unpooled_engine(settings.database_url)),
        provider=make_key_provider(settings),
        metrics=metrics,
        actor=actor,
    )
    return Core(
        settings=settings,
        actor=actor,
        engine=engine,
        transaction=transaction,
        read=make_read(engine),
        redis=make_redis(settings.redis_url),
        metrics=metrics,
        registry=registry,
        keyring=keyring,
        dispatch=dispatch,
    )
