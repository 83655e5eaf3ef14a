"""The drill at Telegram: sessions that were lost with their database are restored, validated, and used again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from app.backups.bucket import Bucket
from app.backups.restoring import restore_sessions
from app.backups.run import back_up_sessions
from app.sessions.leases import release_lease
from sandbox.process import start_sandbox
from tests.backups.custody import new_bucket
from tests.builders import make_settings
from tests.sessions.stage import Stage

SESSIONS = 30


def test_restored_sessions_are_validated_and_serve_again(
    migrated_database: Callable[[], str], redis_url: str, tmp_path: Path, s3_url: str
) -> None:
    """Every one, and none is ever used by two at once."""
    bucket = new_bucket(s3_url)
    with start_sandbox(tmp_path / "sandbox") as sandbox:

        def stage_on(database_url: str) -> Stage:
            settings = make_settings(
                database_url=database_url,
                redis_url=redis_url,
                key_file=tmp_path / "key",
                telegram_dc_address=f"2:127.0.0.1:{sandbox.dcs[2]}",
                telegram_public_key_file=sandbox.public_key_file,
            )
            return Stage(settings, sandbox.driver)

        with stage_on(migrated_database()) as lost:
            ids = lost.connect_many(SESSIONS)
            strings = {session_id: _lease_and_release(lost, session_id) for session_id in ids[:3]}
            _back_up(lost, bucket)
        with stage_on(migrated_database()) as stage:
            _restore(stage, bucket)
            assert {stage.row(session_id).status for session_id in ids} == {"quarantined"}
            assert stage.validate(*ids) == {"ok": SESSIONS}
            assert {stage.row(session_id).status for session_id in ids} == {"active"}
            assert {session_id: _lease_and_release(stage, session_id) for session_id in strings} == strings
            assert stage.violations() == {}


def _lease_and_release(stage: Stage, session_id: str) -> str:
    lease = stage.lease(session_id)
    release_lease(stage.core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id)
    return lease.session_string


def _back_up(stage: Stage, bucket: Bucket) -> None:
    core = stage.core
    report = back_up_sessions(
        transaction=core.transaction, engine=core.engine, keyring=core.keyring, bucket=bucket, metrics=core.metrics
    )
    assert report is not None
    assert report.backed_up == SESSIONS


def _restore(stage: Stage, bucket: Bucket) -> None:
    core = stage.core
    report = restore_sessions(
        transaction=core.transaction,
        engine=core.engine,
        keyring=core.keyring,
        bucket=bucket,
        actor="test",
        validate_after=timedelta(0),
    )
    assert (report.restored, report.problems) == (SESSIONS, [])
