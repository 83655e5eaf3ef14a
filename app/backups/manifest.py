"""Manifests: what each run stored. A listing says what is there; they say what should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime

from app.backups.authentic import Signer, check_signature
from app.backups.bucket import Bucket
from app.backups.content import BackupCorrupt, Signed, decode, encode
from app.backups.names import MANIFESTS, ObjectName, format_time, parse_name
from app.backups.wrappings import BackupKeys
from app.vault.sealing import Place


class Manifest(Signed):
    """One part of a run's manifest: the keys of its objects, each of which ends in the object's checksum."""

    format: Literal["latchkey-manifest-1", "latchkey-manifest-2"] = "latchkey-manifest-2"
    run_id: str
    part: int
    created_at: AwareDatetime
    objects: list[str]


def store_manifest(
    bucket: Bucket,
    signer: Signer,
    *,
    run_id: str,
    started_at: datetime,
    part: int,
    created_at: datetime,
    objects: Sequence[ObjectName],
) -> str:
    """Store a part, before its objects count as stored anywhere else; returns its key."""
    manifest = Manifest(run_id=run_id, part=part, created_at=created_at, objects=[name.object_key for name in objects])
    manifest = signer.sign(manifest, _place(manifest))
    body, checksum = encode(manifest)
    object_key = f"{MANIFESTS}{format_time(started_at)}.{run_id}.{part:05d}.{checksum}.json"
    bucket.put(object_key, body)
    return object_key


def read_manifest(bucket: Bucket, object_key: str, keys: BackupKeys) -> Iterator[ObjectName]:
    """Read the names that a part lists.

    Raises:
        BackupCorrupt: it is not what was stored, or nobody with a key of ours has stored it.
        KeyUnavailable, Transient: see ``BackupKeys.unwrap``.
    """
    checksum = object_key.removesuffix(".json").rpartition(".")[2]
    manifest = decode(bucket.get(object_key), Manifest, checksum=checksum)
    if f".{manifest.run_id}.{manifest.part:05d}." not in object_key:
        raise BackupCorrupt("It is of another run than its name says.")
    check_signature(manifest, _place(manifest), keys)
    for name in manifest.objects:
        parsed = parse_name(name)
        if parsed is None:
            raise BackupCorrupt(f"It lists {name}, which is no name of ours.")
        yield parsed


def _place(manifest: Manifest) -> Place:
    return Place("backup-manifest", "", f"{manifest.run_id}.{manifest.part}")
