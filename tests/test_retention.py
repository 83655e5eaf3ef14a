"""What has been kept for long enough goes, in small transactions and by index; nothing that is still needed does."""

from __future__ import annotations

import time
import tracemalloc
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Select, func, select, text, update

from app.clock import utc_now
from app.core import Core
from app.logins.serving import NewLogin
from app.logins.start import start_login
from app.logins.store import end_from_outside
from app.models import AuditEvent, BackupRun, IdempotencyKey, Login, WebhookMessage
from app.retention import (
    BATCH_ROWS,
    old_audit_events,
    old_backup_runs,
    old_idempotency_keys,
    old_logins,
    old_outbox_rows,
    prune,
)

MANY = 100_000
QUERIES: dict[str, Select[Any]] = {
    "ix_logins_finished_at": old_logins(days=30),
    "ix_idempotency_keys_created_at": old_idempotency_keys(),
    "ix_webhook_outbox_created_at": old_outbox_rows(days=30),
    "ix_audit_events_at": old_audit_events(days=400),
    "ix_backup_runs_finished_at": old_backup_runs(days=30),
}
_FILL = (
    """
    INSERT INTO logins (id, tenant_id, method, status, client_secret_hash, expires_at, finished_at)
    SELECT 'lgn_old' || n, 'alice', 'qr', 'expired', 'x', now(), now() - interval '31 days' - n * interval '1 second'
    FROM generate_series(1, :many) AS n
    """,
    """
    INSERT INTO idempotency_keys (id, tenant_id, key_hash, request_hash, status_code, created_at)
    SELECT 'idk_' || n, 'alice', n::text::bytea, 'x', 202, now() - interval '25 hours' FROM generate_series(1, :many) AS n
    """,
    """
    INSERT INTO webhook_outbox (id, tenant_id, event, payload, created_at)
    SELECT 'msg_' || n, 'alice', 'login.expired', '{}', now() - interval '31 days' FROM generate_series(1, :many) AS n
    """,
    """
    INSERT INTO audit_events (tenant_id, actor, action, subject, at)
    SELECT 'alice', 'test', 'session.opened', 'ses_1', now() - interval '401 days' FROM generate_series(1, :many)
    """,
    """
    INSERT INTO backup_runs (id, started_at, finished_at, backed_up, erased, failed, complete)
    SELECT 'run_' || n, now(), now() - interval '31 days' - n * interval '1 second', 1, 0, 0, true
    FROM generate_series(1, :many) AS n
    """,
)


def fill(core: Core, many: int) -> None:
    """Store that many old rows of each kind."""
    with core.transaction() as db:
        for statement in _FILL:
            db.execute(text(statement), {"many": many})
        db.execute(text("ANALYZE"))


def count(core: Core) -> dict[str, int]:
    """How many rows each table has."""
    with core.transaction() as db:
        return {
            model.__tablename__: db.scalar(select(func.count()).select_from(model)) or 0
            for model in (Login, IdempotencyKey, WebhookMessage, AuditEvent, BackupRun)
        }


def test_100_000_rows_of_each_kind_go_in_constant_memory(core: Core) -> None:
    """A batch at a time, each short; the last record of a backup run stays, because its age is told."""
    started = start_login(core, tenant_id="alice", request=NewLogin())
    before = count(core)
    fill(core, MANY)
    tracemalloc.start()
    pruned = prune(core, limit_seconds=100)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pruned == dict.fromkeys(("logins", "idempotency_keys", "webhook_outbox", "audit_events"), MANY) | {
        "backup_runs": MANY - 1
    }
    assert peak_bytes < 8 * 1024 * 1024
    assert count(core) == before | {"backup_runs": 1}
    with core.transaction() as db:
        assert db.get(Login, started.login.id) is not None


@pytest.mark.parametrize("index", QUERIES)
def test_each_batch_is_found_by_an_index(core: Core, index: str) -> None:
    """Its cost is the batch, not the table."""
    fill(core, 5 * BATCH_ROWS)
    query = QUERIES[index].compile(core.engine, compile_kwargs={"literal_binds": True})
    with core.transaction() as db:
        plan = "\n".join(db.scalars(text(f"EXPLAIN {query}".replace(":", "\\:"))))
    assert index in plan, plan


def test_what_is_still_needed_stays(core: Core) -> None:
    """A live login, one that ended yesterday, and one whose auth key is still to be logged out, however old."""
    live, recent, leaving, old = (start_login(core, tenant_id="alice", request=NewLogin()).login.id for _ in range(4))
    with core.transaction() as db:
        key = {"auth_key_sealed": b"sealed", "dc_id": 2, "dc_host": "127.0.0.1", "dc_port": 443}
        db.execute(update(Login).where(Login.id == leaving).values(**key))
    with core.transaction() as db:
        for login_id in (recent, leaving, old):
            end_from_outside(db, login_id=login_id, status="cancelled")
        long_ago = utc_now() - timedelta(days=31)
        db.execute(update(Login).where(Login.id.in_([leaving, old])).values(finished_at=long_ago))
        db.execute(update(Login).where(Login.id == live).values(created_at=long_ago))
    assert prune(core) == {"logins": 1}
    with core.transaction() as db:
        assert set(db.scalars(select(Login.id))) == {live, recent, leaving}


def test_a_run_is_bounded_in_time(core: Core) -> None:
    """No batch begins after the limit; the next run goes on."""
    fill(core, 3 * BATCH_ROWS)
    began = time.monotonic()
    assert prune(core, limit_seconds=0) == {}
    assert time.monotonic() - began < 5
    assert prune(core)["audit_events"] == 3 * BATCH_ROWS
