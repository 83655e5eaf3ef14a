"""Planning validations: what is due is handed out once, spread over the interval, by an index."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from app.clock import utc_now
from app.core import Core
from app.errors import Conflict, NotFound, SessionLeased
from app.ids import new_id
from app.models import TelegramSession
from app.sessions.planning import BATCH_SESSIONS, VALIDATE_BATCH_TASK, plan_validations, put_back, validate_soon
from app.sessions.schedule import next_slot, slot_number
from tests.builders import Sent
from tests.sessions.rows import give_session

INTERVAL = 900.0


def make_due(core: Core, count: int, *, tenant: str = "alice", overdue_for: float = 60) -> set[str]:
    """Sessions whose turn it is; rows only, which is all that planning looks at."""
    session_ids = {new_id("ses") for _ in range(count)}
    overdue = utc_now() - timedelta(seconds=overdue_for)
    with core.transaction() as db:
        db.add_all(
            TelegramSession(id=each, tenant_id=tenant, dc_id=2, status="active", next_validation_at=overdue)
            for each in session_ids
        )
    return session_ids


def planned(sent: Sent) -> list[str]:
    """The sessions in all batches sent."""
    assert {task[0] for task in sent.tasks} <= {VALIDATE_BATCH_TASK}
    return [session_id for _, _, *session_ids in sent.tasks for session_id in session_ids]


def test_what_is_due_is_planned_once(core: Core, sent: Sent) -> None:
    """In batches; what was planned is not due again before its ticket ends."""
    due = make_due(core, 2 * BATCH_SESSIONS + 3)
    give_session(core, next_validation_at=utc_now() + timedelta(seconds=60))
    assert plan_validations(core) == len(due)
    assert Counter(planned(sent)) == Counter(due)
    assert [len(task) - 2 for task in sent.tasks] == [BATCH_SESSIONS, BATCH_SESSIONS, 3]
    assert plan_validations(core) == 0


def test_one_tenants_thousand_waits_behind_anothers_first(core: Core, sent: Sent) -> None:
    """However long the thousand are overdue: the tenants have turns."""
    make_due(core, 1000, overdue_for=3600)
    late = make_due(core, 3, tenant="bob", overdue_for=1)
    plan_validations(core)
    assert late <= set(planned(sent)[:6])
    assert len(planned(sent)) == 800


def test_many_planners_plan_each_session_once(core: Core, sent: Sent) -> None:
    """A race of real connections: no session in two batches, none left out."""
    due = make_due(core, 6 * BATCH_SESSIONS)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: plan_validations(core), range(6)))
    plan_validations(core)  # what one skipped because another had it locked
    assert Counter(planned(sent)) == Counter(due)


def test_what_cannot_be_sent_is_due_again_within_seconds(core: Core, sent: Sent) -> None:
    """The broker is away, and says so: nobody waits for a message that does not exist, by beat or by hand."""
    due, asked = make_due(core, 2)
    with core.transaction() as db:
        db.execute(update(TelegramSession).where(TelegramSession.id == asked).values(next_validation_at=None))
    sent.broker_away = True
    plan_validations(core)
    validate_soon(core, tenant_id="alice", session_id=asked)
    with core.transaction() as db:
        turns = db.scalars(select(TelegramSession.next_validation_at).where(TelegramSession.id.in_([due, asked])))
        assert all(turn and utc_now() < turn < utc_now() + timedelta(seconds=30) for turn in turns)


def test_a_lost_message_costs_its_tickets_time(core: Core, sent: Sent) -> None:
    """A planned session that nobody validated is due again when the ticket ends."""
    (session_id,) = make_due(core, 1)
    plan_validations(core)
    (_, ticket, _) = sent.tasks[0]
    with core.transaction() as db:
        assert db.scalars(select(TelegramSession.next_validation_at)).one() == utc_now().fromisoformat(ticket)
        db.execute(update(TelegramSession).values(next_validation_at=utc_now()))
    assert plan_validations(core) == 1
    assert planned(sent) == [session_id, session_id]


def test_a_leased_session_waits_for_its_leases_end(core: Core, sent: Sent) -> None:
    """It is not sent, and not looked at again before."""
    due = make_due(core, 2)
    leased = sorted(due)[0]
    until = utc_now() + timedelta(seconds=300)
    with core.transaction() as db:
        db.execute(
            update(TelegramSession)
            .where(TelegramSession.id == leased)
            .values(lease_id="lse_1", lease_holder="bot-1", lease_expires_at=until)
        )
    assert plan_validations(core) == 1
    assert leased not in planned(sent)
    with core.transaction() as db:
        assert db.get_one(TelegramSession, leased).next_validation_at == until


@pytest.mark.parametrize("status", ["invalid", "revoking", "revoked", "replaced"])
def test_what_is_over_is_not_planned(core: Core, status: str) -> None:
    """Only active and quarantined sessions are validated."""
    give_session(core, status=status, next_validation_at=utc_now())
    assert plan_validations(core) == 0


def test_quarantined_sessions_are_planned(core: Core) -> None:
    """That is how a restored or imported one becomes active."""
    give_session(core, status="quarantined", next_validation_at=utc_now())
    assert plan_validations(core) == 1


def test_a_batch_that_finds_no_room_is_due_again_soon(core: Core, sent: Sent) -> None:
    """But only while its ticket is good: what was planned anew meanwhile stays."""
    due = sorted(make_due(core, 2))
    plan_validations(core)
    ticket = utc_now().fromisoformat(sent.tasks[0][1])
    with core.transaction() as db:
        db.execute(update(TelegramSession).where(TelegramSession.id == due[0]).values(next_validation_at=None))
    put_back(core, due, ticket=ticket)
    with core.transaction() as db:
        rows = {row.id: row.next_validation_at for row in db.scalars(select(TelegramSession))}
    assert rows[due[0]] is None
    again_at = rows[due[1]]
    assert again_at is not None
    assert again_at < utc_now() + timedelta(seconds=15)


def test_validating_on_demand(core: Core, sent: Sent) -> None:
    """Sent at once; refused while a tenant holds it or when it is over; nothing to do while Latchkey itself is at it."""
    session_id, _ = give_session(core)
    validate_soon(core, tenant_id="alice", session_id=session_id)
    assert planned(sent) == [session_id]
    with pytest.raises(NotFound):
        validate_soon(core, tenant_id="bob", session_id=session_id)
    soon = utc_now() + timedelta(seconds=60)
    leased, _ = give_session(core, lease_id="lse_1", lease_holder="bot-1", lease_expires_at=soon)
    with pytest.raises(SessionLeased):
        validate_soon(core, tenant_id="alice", session_id=leased)
    own, _ = give_session(core, lease_id="lse_1", lease_holder="latchkey:validator", lease_expires_at=soon)
    assert validate_soon(core, tenant_id="alice", session_id=own).id == own
    over, _ = give_session(core, status="invalid")
    with pytest.raises(Conflict) as refused:
        validate_soon(core, tenant_id="alice", session_id=over)
    assert refused.value.code == "session_not_active"
    assert planned(sent) == [session_id]


@given(seconds=st.floats(min_value=0, max_value=2_000_000_000), interval=st.floats(min_value=1, max_value=90_000))
def test_the_next_turn_is_at_most_an_interval_away(seconds: float, interval: float) -> None:
    """And later than now; the turn after it comes exactly one interval later."""
    now = utc_now().fromtimestamp(seconds, tz=utc_now().tzinfo)
    turn = next_slot("ses_1", now=now, interval_seconds=interval)
    assert now <= turn <= now + timedelta(seconds=interval + 0.001)
    just_after = turn + timedelta(milliseconds=1)
    again = next_slot("ses_1", now=just_after, interval_seconds=interval)
    assert abs((again - turn).total_seconds() - interval) < 0.01
    assert slot_number("ses_1", at=just_after, interval_seconds=interval) > slot_number(
        "ses_1", at=turn - timedelta(milliseconds=1), interval_seconds=interval
    )


def test_sessions_that_come_together_are_spread_evenly() -> None:
    """A thousand sessions that are all validated at one moment: no tenth of the next interval gets much more than its share."""
    now = utc_now()
    turns = [next_slot(new_id("ses"), now=now, interval_seconds=INTERVAL) for _ in range(1000)]
    tenths = Counter(int((turn - now).total_seconds() / INTERVAL * 10) for turn in turns)
    assert max(tenths.values()) < 160
    assert min(tenths.values()) > 50
