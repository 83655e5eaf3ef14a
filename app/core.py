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

from app.database import (
    ReadRow,
    ReadRows,
    Transaction,
    WriteRow,
    make_engine,
    make_read_row,
    make_read_rows,
    make_transaction,
    make_unpooled_engine,
    make_write_row,
)
from app.dispatch import Dispatch
from app.metrics import Metrics, make_metrics
from app.redis_state import ReadValue, make_read_value, make_redis
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
    read_row: ReadRow
    read_rows: ReadRows
    write_row: WriteRow
    redis: redis.Redis
    read_value: ReadValue
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
    alone = make_engine(settings.database_url, pool_size=0, statement_seconds=statement_seconds, autocommit=True)
    transaction = make_transaction(engine)
    actor = f"{role}@{socket.gethostname()}:{os.getpid()}"
    keyring = KeyRing(
        transaction=make_transaction(make_unpooled_engine(settings.database_url)),
        provider=make_key_provider(settings),
        metrics=metrics,
        actor=actor,
    )
    client = make_redis(settings.redis_url)
    return Core(
        settings=settings,
        actor=actor,
        engine=engine,
        transaction=transaction,
        read_row=make_read_row(engine, alone=alone),
        read_rows=make_read_rows(alone),
        write_row=make_write_row(engine, alone=alone),
        redis=client,
        read_value=make_read_value(client),
        metrics=metrics,
        registry=registry,
        keyring=keyring,
        dispatch=dispatch,
    )
