"""Idempotency keys: a request that comes again under its key gets the answer that it got, and has no second effect.

The key's row, the effect of the call and its answer are committed in one transaction: whatever fails in between, there is all
of it or nothing. A repeat that comes while the first one is still being worked on waits for it a moment.

What is not kept: an answer that says to come again (5xx, 429, 408), and one that is about the caller (401, 403).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.core import Core
from app.database import one_transaction
from app.errors import Conflict, StillWorkedOn
from app.ids import new_id
from app.keyed_hash import keyed_hash
from app.models import IdempotencyKey
from app.vault.keyring import KeyNotAtHand
from app.vault.places import ANSWERS
from app.vault.sealing import Place, Sealed

ANSWER_LIFE = timedelta(hours=24)
_TRIES = 6  # each one more needs another key than those before
_WAIT = "2s"
_LOCK_NOT_AVAILABLE = "55P03"


class Answer(NamedTuple):
    """What a caller was told: the body byte for byte, and the headers that belong to it."""

    status_code: int
    headers: dict[str, str]
    body: bytes


class Owner(NamedTuple):
    """Whose a key is. ``namespace`` parts the keys of a login's own secret from those of its tenant."""

    tenant_id: str
    namespace: str


@dataclass(frozen=True)
class Asked:
    """A request under an idempotency key.

    Args:
        identify: whose it is, in the transaction; raises what the call itself would.
        request: all that tells it from another request, as text.
        subject: the id in its address, if there is one.
    """

    key: str = field(repr=False)
    identify: Callable[[DatabaseSession], Owner]
    request: str = field(repr=False)
    subject: str | None


def answer_once(core: Core, asked: Asked, work: Callable[[], Answer]) -> tuple[Answer, bool]:
    """Do the work, and keep its answer; or answer as it was answered before.

    Args:
        work: may be run several times, and is rolled back each time but the last. What it raises is passed on, and then nothing
            is kept or written.

    Returns:
        The answer, and whether it is a replay.

    Raises:
        Conflict: ``idempotency_key_reused``: the key came with another request before.
        StillWorkedOn: ``idempotency_key_in_use``.
        SealBroken, KeyUnavailable, Transient, Unavailable: nothing was written.
    """
    core.keyring.fetch(None, why="to seal an answer")
    for _ in range(_TRIES):
        try:
            with one_transaction(core.engine):
                row, fresh = _claim(core, asked)
                if fresh:
                    return _keep(core, row, work()), False
            break
        except KeyNotAtHand as exc:
            key_id, why = exc.key_id, exc.why
        core.keyring.fetch(key_id, why=why)
    else:
        raise StillWorkedOn("Keys were not at hand; repeat the request.")
    return _replay(core, row, asked), True


def forget_answers(db: DatabaseSession, *, subject: str) -> None:
    """Erase what was answered about a session: its secret is to be gone. A repeat still has no second effect."""
    db.execute(
        update(IdempotencyKey)
        .where(IdempotencyKey.subject == subject)
        .values(body_sealed=None, key_id=None)
        .execution_options(synchronize_session=False)
    )


def _claim(core: Core, asked: Asked) -> tuple[IdempotencyKey, bool]:
    """The key's row, and whether it is new: then it is this transaction's, and whoever repeats the request waits for it."""
    with core.transaction() as db:
        owner = asked.identify(db)
        key_hash = keyed_hash(core.settings, purpose="idempotency key", value=f"{owner.namespace}\n{asked.key}")
        whose = (IdempotencyKey.tenant_id == owner.tenant_id, IdempotencyKey.key_hash == key_hash)
        db.execute(delete(IdempotencyKey).where(*whose, IdempotencyKey.created_at < utc_now() - ANSWER_LIFE))
        added = _insert(
            db,
            {
                "id": new_id("idk"),
                "tenant_id": owner.tenant_id,
                "key_hash": key_hash,
                "request_hash": _hash_request(core, asked),
                "subject": asked.subject,
            },
        )
        if added is not None:
            return db.get_one(IdempotencyKey, added), True
        return db.scalars(select(IdempotencyKey).where(*whose)).one(), False


def _insert(db: DatabaseSession, row: dict[str, object]) -> str | None:
    db.execute(text(f"SET LOCAL lock_timeout = '{_WAIT}'"))
    try:
        added: str | None = db.scalar(
            insert(IdempotencyKey).values(row).on_conflict_do_nothing().returning(IdempotencyKey.id)
        )
    except OperationalError as exc:
        if getattr(exc.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
            raise
        raise StillWorkedOn("The first request of this Idempotency-Key is still being worked on; repeat it.") from exc
    db.execute(text("SET LOCAL lock_timeout TO DEFAULT"))
    return added


def _keep(core: Core, row: IdempotencyKey, answer: Answer) -> Answer:
    sealed = core.keyring.seal(_place(row), answer.body)
    with core.transaction() as db:
        kept = db.get_one(IdempotencyKey, row.id)
        kept.status_code, kept.headers = answer.status_code, answer.headers
        kept.key_id, kept.body_sealed = sealed
    return answer


def _replay(core: Core, row: IdempotencyKey, asked: Asked) -> Answer:
    if row.request_hash != _hash_request(core, asked):
        raise Conflict(
            "This Idempotency-Key came with another request before; use a new key.", code="idempotency_key_reused"
        )
    if row.status_code is None or row.key_id is None or row.body_sealed is None:
        raise Conflict("What this request was answered with has been erased since; look at what it is about.")
    body = core.keyring.open(_place(row), Sealed(row.key_id, row.body_sealed))
    return Answer(row.status_code, row.headers, body)


def _hash_request(core: Core, asked: Asked) -> bytes:
    return keyed_hash(core.settings, purpose="request of an idempotency key", value=asked.request)


def _place(row: IdempotencyKey) -> Place:
    return Place(ANSWERS.purposes["body_sealed"], row.tenant_id, row.id)
