"""Which tenants have a label of their own in the metrics. Every series costs memory in Prometheus: tenants have a limit."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import product
from typing import Any

from prometheus_client import Counter
from sqlalchemy import select
from sqlalchemy.exc import ProgrammingError

from app.database import Transaction
from app.errors import Unavailable
from app.models import Tenant

OTHER_TENANTS = "other"
"""The label that tenants beyond the limit share."""


class TenantLabels:
    """The tenants of one process, as labels. May be used by many threads.

    Args:
        limit: how many tenants have a label of their own. Further ones share ``OTHER_TENANTS``.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._known = {OTHER_TENANTS}
        self._prepare: list[Callable[[str], None]] = []
        self._lock = threading.Lock()

    def of(self, tenant_id: str) -> str:
        """A tenant's label. A tenant that nobody has seen yet gets one of its own while there is room."""
        if tenant_id not in self._known:
            self.know([tenant_id])
        return tenant_id if tenant_id in self._known else OTHER_TENANTS

    def know(self, tenant_ids: Iterable[str]) -> None:
        """Give labels to these tenants, in this order, while there is room; each begins at 0 in every counter."""
        with self._lock:
            for tenant_id in tenant_ids:
                if tenant_id in self._known or len(self._known) > self.limit:
                    continue
                for prepare in self._prepare:
                    prepare(tenant_id)
                self._known.add(tenant_id)

    def prepare_by(self, prepare: Callable[[str], None]) -> None:
        """Call this with each label, those that are known and those to come."""
        for label in self._known:
            prepare(label)
        self._prepare.append(prepare)


class TenantCounter:
    """A counter by tenant, and by what is known of its other labels."""

    def __init__(self, counter: Counter, tenants: TenantLabels, known: Mapping[str, Collection[str]]) -> None:
        self._counter = counter
        self._tenants = tenants
        tenants.prepare_by(lambda label: begin_at_zero(counter, {"tenant_id": [label], **known}))

    def labels(self, *, tenant_id: str, **labels: str) -> Counter:
        """The counter of one tenant."""
        return self._counter.labels(tenant_id=self._tenants.of(tenant_id), **labels)


def begin_at_zero(metric: Any, known: Mapping[str, Collection[str]]) -> None:
    """Make a metric's series for each combination of its labels' known values."""
    for values in product(*known.values()):
        metric.labels(**dict(zip(known, values, strict=True)))


def know_tenants(transaction: Transaction, tenants: TenantLabels) -> None:
    """Give labels to the oldest tenants, for a process that starts: then all processes agree on them.

    Without a database, or before its first migration, tenants get theirs as they come.
    """
    with contextlib.suppress(Unavailable, ProgrammingError), transaction() as db:
        oldest = select(Tenant.id).order_by(Tenant.created_at, Tenant.id).limit(tenants.limit)
        tenants.know(db.scalars(oldest).all())
