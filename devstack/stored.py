"""What a login leaves behind: the row in PostgreSQL as it stands there, and the numbers that the processes tell.

Reads as somebody would who got hold of the database: without Latchkey's code and without its keys.
"""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import requests
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

_FERNET_VERSION = 0x80


@dataclass(frozen=True)
class StoredSession:
    """A row of sessions, with the sealed session string as it is stored."""

    id: str
    telegram_user_id: int
    first_name: str
    dc_id: int
    key_id: str
    sealed: bytes

    @property
    def is_sealed(self) -> bool:
        """Whether what is stored is a Fernet token, and so no session string."""
        try:
            return base64.urlsafe_b64decode(self.sealed)[0] == _FERNET_VERSION
        except (binascii.Error, IndexError):
            return False


def stored_sessions(database_url: str) -> list[StoredSession]:
    """Read the active sessions from PostgreSQL, the oldest first."""
    statement = sa.text(
        "SELECT id, telegram_user_id, first_name, dc_id, key_id, session_sealed AS sealed FROM sessions "
        "WHERE status = 'active' ORDER BY created_at"
    )
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        rows = connection.execute(statement).mappings()
        return [StoredSession(**{**row, "sealed": bytes(row["sealed"])}) for row in rows]


def read_metrics(addresses: Iterable[str]) -> Mapping[str, float]:
    """Sum every sample of these metrics pages by its name, over labels and processes."""
    sums: dict[str, float] = defaultdict(float)
    for address in addresses:
        page = requests.get(address, timeout=5)
        page.raise_for_status()
        for family in text_string_to_metric_families(page.text):
            for sample in family.samples:
                sums[sample.name] += sample.value
    return sums


def mean_seconds(metrics: Mapping[str, float], histogram: str) -> float | None:
    """The mean of a histogram, or None while it has seen nothing."""
    count = metrics.get(f"{histogram}_count", 0.0)
    return metrics[f"{histogram}_sum"] / count if count else None


def metrics_addresses(description: Mapping[str, Any]) -> list[str]:
    """Every page with metrics of a stack's own processes."""
    return [f"{description['web']}/metrics", *description["worker_metrics"]]
