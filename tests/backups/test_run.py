"""The backup: what changed, once, never over anything, whatever comes between."""

from __future__ import annotations

from sqlalchemy import update

from app.models import TelegramSession
from tests.backups.parts import make_custody, new_bucket
from tests.vault.parts import Vault, add_sessions


def test_what_changed_is_backed_up_once(vault: Vault, either_s3_url: str) -> None:
    """Every new session, then nothing, then the one that changed; older versions stay."""
    custody = make_custody(vault, new_bucket(either_s3_url))
    strings = add_sessions(vault, 5)
    first = custody.back_up(batch_rows=2)
    assert (first.backed_up, first.failed, first.complete) == (5, 0, True)
    assert custody.back_up().backed_up == 0
    changed = sorted(strings)[3]
    with vault.transaction() as db:
        db.execute(
            update(TelegramSession)
            .where(TelegramSession.id == changed)
            .values(username="alice", version=TelegramSession.version + 1)
        )
    assert custody.back_up().backed_up == 1
    assert [content.session.username for content in custody.contents(changed)] == [None, "alice"]
    assert len(custody.names()) == 6
    row = custody.rows()[changed]
    assert (row.backed_up_version, row.backed_up_at) == (row.version, custody.names(changed)[-1].backed_up_at)
