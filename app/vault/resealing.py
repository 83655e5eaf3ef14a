"""Re-sealing rows under another key, batch by batch, beside everybody who reads and writes them.

A batch locks its rows and skips those that somebody else has locked, re-seals what stands in them at that moment, and writes
ciphertexts and key id in one statement. So no writer's value is lost, and no key id ever stands beside a ciphertext of
another key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, LargeBinary, Select, Text, Update, bindparam, cast, column, func, select, update
from sqlalchemy.orm import Session as DatabaseSession

from app.database import Transaction
from app.errors import SealBroken
from app.logs import get_logger
from app.vault.keyring import KeyRing
from app.vault.places import SEALED_TABLES, SealedTable
from app.vault.sealing import Place, Sealed
from app.vault.transact import transact
from app.vault.wrapping import KeyUnavailable

BATCH_ROWS = 500

_log = get_logger(__name__)


class Batch(NamedTuple):
    """A committed batch: how many rows were re-sealed, the ids of those that do not open, and the last id if there is more."""

    resealed: int
    broken: list[str]
    go_on_after: str | None


class _Change(NamedTuple):
    table: SealedTable
    old_key_id: str
    new_key_id: str


def reseal_rows(
    transaction: Transaction, *, keyring: KeyRing, old_key_ids: Sequence[str], active_key_id: str, batch_rows: int
) -> Iterator[Batch]:
    """Re-seal every row at rest under old keys, yielding after each committed batch.

    A row that does not open, or whose key does not unwrap, stays as it is, with its key.

    Raises:
        KeyUnavailable: a key is not to be had; not before the rows under the others are re-sealed.
        Transient: the key provider is away.
    """
    away: KeyUnavailable | None = None
    for table in SEALED_TABLES:
        for old_key_id in old_key_ids:
            change = _Change(table, old_key_id, active_key_id)
            after: str | None = ""
            while after is not None:
                try:
                    batch = _reseal_batch(transaction, keyring, change, after, batch_rows)
                except KeyUnavailable as exc:
                    away = exc
                    break
                yield batch
                after = batch.go_on_after
    if away is not None:
        raise away


def _reseal_batch(transaction: Transaction, keyring: KeyRing, change: _Change, after: str, batch_rows: int) -> Batch:
    rows_after = _rows_after(change, after, batch_rows)
    try:
        return transact(transaction, keyring, lambda db: _reseal_in(db, keyring, change, rows_after, batch_rows))
    except SealBroken as exc:  # not a row's seal but a key's
        _log.warning("rotation.broken_key", key_id=change.old_key_id, detail=exc.detail)
    with transaction() as db:
        broken = [row.id for row in db.execute(rows_after)]
    return Batch(0, broken, broken[-1] if len(broken) == batch_rows else None)


def _rows_after(change: _Change, after: str, limit: int) -> Select[Any]:
    table, model = change.table, change.table.model
    return (
        select(model.id, model.tenant_id, *(getattr(model, name) for name in table.purposes))
        .where(model.key_id == change.old_key_id, model.id > after, table.at_rest)
        .order_by(model.id)
        .limit(limit)
        # Not FOR UPDATE: rows that merely refer to these (foreign keys) need not wait.
        .with_for_update(skip_locked=True, key_share=True)
    )


def _reseal_in(
    db: DatabaseSession, keyring: KeyRing, change: _Change, rows_after: Select[Any], batch_rows: int
) -> Batch:
    rows = db.execute(rows_after).all()
    resealed: list[tuple[Any, ...]] = []
    broken: list[str] = []
    for record_id, tenant_id, *ciphertexts in rows:
        try:
            resealed.append(_reseal_row(keyring, change, tenant_id, record_id, ciphertexts))
        except SealBroken:
            _log.warning("rotation.broken_seal", record=record_id, key_id=change.old_key_id)
            broken.append(record_id)
    if resealed:
        _write(db, change.table, resealed)
    return Batch(len(resealed), broken, rows[-1].id if len(rows) == batch_rows else None)


def _reseal_row(
    keyring: KeyRing, change: _Change, tenant_id: str, record_id: str, ciphertexts: Sequence[bytes | None]
) -> tuple[Any, ...]:
    """The row's id, its new key id (None when nothing is left sealed in it), and its new ciphertexts."""
    new: list[bytes | None] = []
    for purpose, ciphertext in zip(change.table.purposes.values(), ciphertexts, strict=True):
        if ciphertext is None:
            new.append(None)
            continue
        place = Place(purpose, tenant_id, record_id)
        plaintext = keyring.open(place, Sealed(change.old_key_id, ciphertext))
        new.append(keyring.seal_under_key(change.new_key_id, place, plaintext))
    return record_id, change.new_key_id if any(new) else None, *new


def _write(db: DatabaseSession, table: SealedTable, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write a batch in one statement, the same for any number of rows: a column of the batch is one array."""
    names = ("new_id", "new_key_id", *(f"new_{name}" for name in table.purposes))
    columns = map(list, zip(*rows, strict=True))
    db.execute(_write_arrays(table), dict(zip(names, columns, strict=True)))


def _write_arrays(table: SealedTable) -> Update:
    types: dict[str, Any] = {"id": Text(), "key_id": Text()} | dict.fromkeys(table.purposes, LargeBinary())
    # PostgreSQL takes an array of nothing but NULLs for one of texts.
    arrays = [cast(bindparam(f"new_{name}", type_=ARRAY(kind)), ARRAY(kind)) for name, kind in types.items()]
    new = (
        func.unnest(*arrays)
        .table_valued(*(column(name, kind) for name, kind in types.items()), name="new")
        .render_derived()
    )
    return (
        update(table.model)
        .where(table.model.id == new.c.id)
        .values({name: new.c[name] for name in types if name != "id"} | dict(table.changes))
        .execution_options(synchronize_session=False)
    )
