"""The audit's chain: what is changed, removed or rewritten is found; and PostgreSQL itself lets the service only add."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, delete, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError

from app.cli.audit import audit as audit_command
from app.clock import utc_now
from app.database import Transaction, make_engine, make_transaction
from app.errors import SettingsError
from app.grants import grant_service_role
from app.models import AuditEvent, AuditSeal
from app.vault import audit_chain
from app.vault.audit import record_event
from app.vault.audit_chain import seal_audit, verify_audit

RETENTION_DAYS = 400


@pytest.fixture
def owner(migrated_database: Callable[[], str]) -> Iterator[Engine]:
    """The owner's engine, on a database of the test's own."""
    engine = make_engine(migrated_database())
    yield engine
    engine.dispose()


@pytest.fixture
def transaction(owner: Engine) -> Transaction:
    """The owner's transactions."""
    return make_transaction(owner)


def add(transaction: Transaction, count: int, *, days_ago: float = 1 / 24) -> None:
    """Add events that happened a while ago."""
    with transaction() as db:
        for number in range(count):
            record_event(db, tenant_id=None, actor="cli:test", action="test.done", subject=f"thing-{number}")
        db.flush()
        for row in db.query(AuditEvent).filter(AuditEvent.at > utc_now() - timedelta(minutes=1)):
            row.at = utc_now() - timedelta(days=days_ago)


def problems(transaction: Transaction, *, head: str | None = None) -> list[str]:
    """What verifying finds."""
    return verify_audit(transaction, retention_days=RETENTION_DAYS, head=head).problems


def sealed(transaction: Transaction) -> None:
    """Three seals over ten rows each."""
    for _ in range(3):
        add(transaction, 10)
        assert seal_audit(transaction) == 10


def test_a_chain_is_followed_from_end_to_end(transaction: Transaction) -> None:
    """Rows, seals and the head; what no seal covers yet is counted; sealing again does nothing."""
    sealed(transaction)
    assert seal_audit(transaction) == 0
    add(transaction, 2)
    verdict = verify_audit(transaction, retention_days=RETENTION_DAYS)
    assert (verdict.seals, verdict.rows, verdict.unsealed, verdict.problems) == (3, 30, 2, [])
    assert verdict.head is not None
    assert problems(transaction, head=verdict.head) == []


def test_one_run_seals_whatever_there_is(transaction: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than one seal covers: seal after seal, in one run, unless its time is up."""
    monkeypatch.setattr(audit_chain, "MOST_ROWS", 10)
    add(transaction, 25)
    assert seal_audit(transaction, limit_seconds=-1.0) == 10
    assert seal_audit(transaction) == 15
    verdict = verify_audit(transaction, retention_days=RETENTION_DAYS)
    assert (verdict.seals, verdict.rows, verdict.unsealed, verdict.problems) == (3, 25, 0, [])


def test_a_row_that_commits_late_is_sealed_later(transaction: Transaction, owner: Engine) -> None:
    """Its number is below those that were sealed before it was seen."""
    late = make_transaction(owner)
    with late() as db:
        record_event(db, tenant_id=None, actor="cli:test", action="test.late", subject="late")
        db.flush()
        add(transaction, 5)
        assert seal_audit(transaction) == 5
    with transaction() as db:
        db.execute(update(AuditEvent).where(AuditEvent.subject == "late").values(at=utc_now() - timedelta(hours=3)))
    assert seal_audit(transaction) == 0  # longer ago than any transaction lasts: not looked for
    with transaction() as db:
        db.execute(update(AuditEvent).where(AuditEvent.subject == "late").values(at=utc_now() - timedelta(hours=1)))
    assert seal_audit(transaction) == 1
    assert problems(transaction) == []


def test_a_changed_row_is_found(transaction: Transaction) -> None:
    """Whatever of it was changed."""
    sealed(transaction)
    with transaction() as db:
        db.execute(update(AuditEvent).where(AuditEvent.subject == "thing-4").values(actor="somebody else"))
    found = problems(transaction)
    assert len(found) == 3
    assert "were changed" in found[0]


def test_a_removed_row_is_found(transaction: Transaction) -> None:
    """And named."""
    sealed(transaction)
    with transaction() as db:
        gone = db.scalars(delete(AuditEvent).where(AuditEvent.id == 15).returning(AuditEvent.id)).all()
    assert gone == [15]
    assert problems(transaction) == ["1 rows that seal 2 covers are gone: aud_15"]


def test_a_removed_seal_is_found(transaction: Transaction) -> None:
    """In the middle by the link, at the end by the numbers that were given out, at the beginning by its age."""
    sealed(transaction)
    for position, says in ((2, "does not follow"), (3, "are gone"), (1, "not old enough")):
        with transaction() as db:
            seal = db.get_one(AuditSeal, position)
            kept = {column.key: getattr(seal, column.key) for column in AuditSeal.__table__.columns}
            db.delete(seal)
        assert says in " ".join(problems(transaction))
        with transaction() as db:
            db.add(AuditSeal(**kept))
        assert problems(transaction) == []


def test_a_chain_that_was_rewritten_does_not_lead_to_the_logged_head(transaction: Transaction) -> None:
    """Whoever owns the database can make a new chain, but not one that leads to a digest that is in the logs."""
    sealed(transaction)
    logged = verify_audit(transaction, retention_days=RETENTION_DAYS).head
    with transaction() as db:
        db.execute(delete(AuditEvent).where(AuditEvent.id == 15))
        db.execute(text("TRUNCATE audit_seals RESTART IDENTITY"))
    assert seal_audit(transaction) == 29
    assert problems(transaction) == []
    assert "does not lead to" in problems(transaction, head=logged)[0]


def test_what_was_pruned_is_no_breach(transaction: Transaction) -> None:
    """Rows older than the retention, and then their seals, may go."""
    add(transaction, 3, days_ago=RETENTION_DAYS + 2)
    assert seal_audit(transaction) == 3
    add(transaction, 3)
    assert seal_audit(transaction) == 3
    with transaction() as db:
        db.execute(delete(AuditEvent).where(AuditEvent.id == 2))
    assert problems(transaction) == []
    with transaction() as db:
        db.execute(delete(AuditSeal).where(AuditSeal.position == 1))
    assert problems(transaction) == []


def test_the_service_can_only_add_to_the_audit(owner: Engine, transaction: Transaction) -> None:
    """Its role owns no table; it reads and adds, and neither changes nor removes what is younger than the retention."""
    name = owner.url.database
    url = (
        make_url(owner.url).set(username=f"service_{name}", password="it's 100%").render_as_string(hide_password=False)
    )
    for _ in range(2):
        grant_service_role(owner, service_url=url, audit_retention_days=RETENTION_DAYS)
    add(transaction, 1, days_ago=RETENTION_DAYS + 1)
    engine = make_engine(url)
    service = make_transaction(engine)
    try:
        with service() as db:
            record_event(db, tenant_id=None, actor="cli:test", action="test.done", subject="thing")
        for forbidden in (
            "UPDATE audit_events SET actor = 'nobody'",
            "UPDATE audit_seals SET digest = ''",
            "TRUNCATE audit_events",
            "ALTER TABLE audit_events DISABLE ROW LEVEL SECURITY",
            "DROP TABLE audit_seals",
            "DELETE FROM alembic_version",
        ):
            with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"), service() as db:
                db.execute(text(forbidden))
        with service() as db:
            assert db.scalars(text("DELETE FROM audit_events RETURNING subject")).all() == ["thing-0"]
            assert db.scalar(text("SELECT count(*) FROM audit_events")) == 1
            owned = text("SELECT count(*) FROM pg_tables WHERE tableowner = current_user")
            assert db.scalar(owned) == 0
        assert seal_audit(service) == 0
        assert problems(service) == []
    finally:
        engine.dispose()
    with pytest.raises(SettingsError):
        grant_service_role(
            owner, service_url=owner.url.render_as_string(hide_password=False), audit_retention_days=RETENTION_DAYS
        )


def test_the_command_says_what_is_wrong(
    owner: Engine, transaction: Transaction, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """Exits with 0 and the head, or with 1 and a sentence for each problem."""
    for setting, value in {
        "DATABASE_URL": owner.url.render_as_string(hide_password=False),
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "TELEGRAM_API_ID": "1",
        "TELEGRAM_API_HASH": "x",
        "KEY_PROVIDER": "aws-kms",
        "KMS_KEY_ID": "alias/x",
    }.items():
        monkeypatch.setenv(setting, value)
    sealed(transaction)
    good = CliRunner().invoke(audit_command, ["verify"])
    assert (good.exit_code, "The chain is whole." in good.output) == (0, True)
    with transaction() as db:
        db.execute(delete(AuditEvent).where(AuditEvent.id == 15))
    bad = CliRunner().invoke(audit_command, ["verify"])
    assert (bad.exit_code, "BROKEN: 1 rows that seal 2 covers are gone" in bad.output) == (1, True)
