"""Purging a tenant: logged out at Telegram, gone from the database and the bucket, with a report; nobody else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest
from sqlalchemy import inspect, select, text

from app.backups.bucket import Bucket
from app.backups.run import back_up_sessions
from app.errors import Conflict, NotFound, Unavailable
from app.ids import new_id
from app.logins.serving import NewLogin
from app.logins.start import start_login
from app.models import AuditEvent, TelegramSession
from app.purging import PurgeView, purge_tenants, read_purge, request_purge
from app.tenants.store import create_tenant
from tests.backups.custody import bucket_at
from tests.sessions.stage import Stage
from tests.vault.vaults import aws_environment, emulated_aws


@pytest.fixture(scope="module")
def aws_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An emulated AWS, whose buckets keep versions."""
    with aws_environment(), emulated_aws(tmp_path_factory.mktemp("aws")) as url:
        yield url


def versioned_bucket(aws_url: str) -> tuple[Bucket, Any]:
    """A new bucket that keeps old versions, and a client that sees all of them."""
    s3, name = boto3.client("s3", endpoint_url=aws_url), new_id("bucket").replace("_", "-")
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return bucket_at(aws_url, name), s3


def versions(bucket: Bucket, s3: Any, tenant: str) -> list[str]:
    """The keys of every version and marker of a tenant's."""
    answer = s3.list_object_versions(Bucket=bucket.name)
    keys = [entry["Key"] for entry in answer.get("Versions", []) + answer.get("DeleteMarkers", [])]
    return [key for key in keys if f"sessions/{tenant}/" in key]


def back_up(stage: Stage, bucket: Bucket) -> None:
    """Back up what is due."""
    core = stage.core
    report = back_up_sessions(
        transaction=core.transaction, engine=core.engine, keyring=core.keyring, bucket=bucket, metrics=core.metrics
    )
    assert report is not None
    assert report.complete


def rows_that_name(stage: Stage, tenant: str) -> set[str]:
    """The tables that have rows of a tenant's."""
    with stage.core.transaction() as db:
        tables = {
            table
            for table in inspect(stage.core.engine).get_table_names()
            if "tenant_id" in {column["name"] for column in inspect(stage.core.engine).get_columns(table)}
        }
        found = {
            table
            for table in tables
            if db.scalar(text(f"SELECT count(*) FROM {table} WHERE tenant_id = :id"), {"id": tenant})
        }
        return found | (
            {"tenants"} if db.scalar(text("SELECT 1 FROM tenants WHERE id = :id"), {"id": tenant}) else set()
        )


def log_out_all(stage: Stage) -> None:
    """What workers would do."""
    with stage.core.transaction() as db:
        pending = db.scalars(select(TelegramSession.id).where(TelegramSession.logout_pending)).all()
    for session_id in pending:
        assert stage.log_out(session_id) == "done"


def advance(stage: Stage, bucket: Bucket | None, **options: Any) -> PurgeView:
    """What beat does every ten seconds."""
    (purge,) = purge_tenants(stage.core, bucket, **options)
    return purge


def test_a_purged_tenant_leaves_nothing_but_its_audit(stage: Stage, aws_url: str) -> None:
    """Two sessions, a login, a webhook and old versions of backups: logged out first, then gone; Bob's stay."""
    bucket, s3 = versioned_bucket(aws_url)
    stage.listen()
    users = [stage.account() for _ in range(2)]
    for user_id in users:
        stage.connect(user_id, order="17")
    bobs = stage.connect(tenant="bob")
    back_up(stage, bucket)
    for key in list(bucket.list_keys("sessions/alice/"))[:1]:
        bucket.delete([key])  # an old version and a marker
    start_login(stage.core, tenant_id="alice", request=NewLogin())
    purge = request_purge(stage.core, tenant_id="alice", actor="test").purge
    assert (purge.state, purge.sessions, purge.logins, purge.webhooks, purge.left) == ("purging", 2, 1, 1, 2)
    assert advance(stage, bucket).state == "purging"
    assert versions(bucket, s3, "alice"), "nothing is erased before Telegram has confirmed the log-outs"
    log_out_all(stage)
    done = advance(stage, bucket)
    assert (done.state, done.left, done.given_up) == ("purged", 0, 0)
    assert (done.backups_deleted, done.backups_kept) == (3, 0)
    assert done.audit_events_kept > 0
    assert [stage.telegram.authorizations(user_id) for user_id in users] == [[], []]
    assert rows_that_name(stage, "alice") == {"audit_events", "tenant_purges"}
    assert versions(bucket, s3, "alice") == []
    assert versions(bucket, s3, "bob")
    assert stage.validate(bobs) == {"ok": 1}
    assert read_purge(stage.core.transaction, tenant_id="alice") == done
    assert request_purge(stage.core, tenant_id="alice", actor="test").purge == done
    assert purge_tenants(stage.core, bucket) == []
    back_up(stage, bucket)
    assert versions(bucket, s3, "alice") == []
    with stage.core.transaction() as db:
        actions = set(db.scalars(select(AuditEvent.action).where(AuditEvent.subject == "alice")))
    assert {"tenant.purge_requested", "tenant.purged", "tenant.disabled"} <= actions


def test_a_log_out_that_is_never_possible_holds_a_purge_for_a_day(stage: Stage) -> None:
    """Then the purge goes on, and says what it gave up."""
    session_id = stage.connect()
    stage.lose_key(session_id)
    request_purge(stage.core, tenant_id="alice", actor="test")
    assert stage.log_out(session_id) == "put_off"
    assert advance(stage, None).left == 1
    done = advance(stage, None, patience=timedelta())
    assert (done.state, done.given_up, done.sessions) == ("purged", 1, 1)
    assert rows_that_name(stage, "alice") == {"audit_events", "tenant_purges"}


def test_a_purged_tenants_id_may_be_used_again(stage: Stage) -> None:
    """By another customer; that one can be purged, too."""
    request_purge(stage.core, tenant_id="alice", actor="test")
    first = advance(stage, None)
    create_tenant(stage.core.transaction, actor="test", tenant_id="alice", name="Another")
    second = request_purge(stage.core, tenant_id="alice", actor="test").purge
    assert (second.state, second.requested_at > first.requested_at) == ("purging", True)
    assert advance(stage, None).state == "purged"


def test_a_purge_that_died_at_its_end_meets_no_other_tenant(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The id is free when the purge is over, and not a moment before: else a new tenant of that id would be purged."""
    request_purge(stage.core, tenant_id="alice", actor="test")
    with monkeypatch.context() as patch:
        patch.setattr("app.purging._finish", lambda *_, **__: (_ for _ in ()).throw(Unavailable("died")))
        with pytest.raises(Unavailable):
            purge_tenants(stage.core, None)
    with pytest.raises(Conflict):
        create_tenant(stage.core.transaction, actor="test", tenant_id="alice", name="Another")
    assert advance(stage, None).state == "purged"
    create_tenant(stage.core.transaction, actor="test", tenant_id="alice", name="Another")
    assert purge_tenants(stage.core, None) == []
    assert "tenants" in rows_that_name(stage, "alice")


def test_many_sessions_are_marked_a_batch_at_a_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the call leaves, the next run marks; the report counts all of them from the start."""
    monkeypatch.setattr("app.purging.MESSAGES_AT_ONCE", 2)
    monkeypatch.setattr("app.purging.BATCH_ROWS", 2)
    stage.connect_many(5)
    purge = request_purge(stage.core, tenant_id="alice", actor="test").purge
    assert (purge.sessions, purge.left) == (5, 5)
    assert advance(stage, None).left == 5
    log_out_all(stage)
    assert advance(stage, None).state == "purged"


def test_nobody_cannot_be_purged(stage: Stage) -> None:
    """404, as for any tenant that there is not."""
    with pytest.raises(NotFound):
        request_purge(stage.core, tenant_id="nobody", actor="test")
    with pytest.raises(NotFound):
        read_purge(stage.core.transaction, tenant_id="alice")
