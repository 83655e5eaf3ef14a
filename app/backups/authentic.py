"""What steers a restore or an expiry is authentic: tombstones and manifests carry a digest sealed under a data encryption key.

Whoever can write to the bucket can name an object as he likes and make any checksum, but has no key. The sealed digest is bound
to the object's place (which session's tombstone, which part of which run's manifest), so that a genuine one cannot be copied to
another.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple, TypeVar

from sqlalchemy import select

from app.backups.content import BackupCorrupt, KeyContent, Signed
from app.backups.wrappings import BackupKeys, describe_key
from app.database import Transaction
from app.errors import SealBroken
from app.models import EncryptionKey
from app.vault.keyring import KeyRing
from app.vault.sealing import Place, open_under
from app.vault.wrapping import KeyUnavailable

SignedT = TypeVar("SignedT", bound=Signed)


class Signer(NamedTuple):
    """Signs for one run, under the key that was active when it began."""

    keyring: KeyRing
    key: KeyContent

    def sign(self, content: SignedT, place: Place) -> SignedT:
        """A copy of an object's content that carries its sealed digest.

        Raises:
            SealBroken, KeyUnavailable, Transient: the key is not to be had.
        """
        unsigned = content.model_copy(update={"key": self.key})
        sealed = self.keyring.seal_under_key(self.key.key_id, place, _digest(unsigned, place))
        return unsigned.model_copy(update={"digest_sealed": sealed})


def make_signer(transaction: Transaction, keyring: KeyRing) -> Signer:
    """A signer under the active key.

    Raises:
        KeyUnavailable, Transient: there is none to be had.
    """
    row = _active_row(transaction, keyring)
    if row is None:  # the database was changed under this process, which remembers an active key for a minute
        keyring.forget()
        row = _active_row(transaction, keyring)
    if row is None:
        raise KeyUnavailable("There is no active key to sign with.")
    return Signer(keyring, describe_key(row))


def _active_row(transaction: Transaction, keyring: KeyRing) -> EncryptionKey | None:
    key_id = keyring.active_key_id()
    with transaction() as db:
        return db.scalar(
            select(EncryptionKey).where(EncryptionKey.id == key_id, EncryptionKey.wrapped_key.is_not(None))
        )


def check_signature(content: Signed, place: Place, keys: BackupKeys) -> None:
    """Make sure that somebody with a key of ours has said this, of this place.

    Raises:
        BackupCorrupt: nobody has.
        KeyUnavailable, Transient: see ``BackupKeys.unwrap``.
    """
    if content.key is None or content.digest_sealed is None:
        raise BackupCorrupt("It is not signed: anybody who can write to the bucket could have put it there.")
    try:
        digest = open_under(keys.unwrap(content.key).data_key, place, content.digest_sealed)
    except SealBroken as exc:
        raise BackupCorrupt("Its signature is of no key of ours.") from exc
    if digest != _digest(content, place):
        raise BackupCorrupt("Its signature is of something else.")


def _digest(content: Signed, place: Place) -> bytes:
    said = content.model_copy(update={"digest_sealed": None}).model_dump_json()
    return hashlib.sha256("\0".join((*place, said)).encode()).digest()
