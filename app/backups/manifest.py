"""Manifests: what each run stored. A listing says what is there; they say what should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from app.backups.bucket import Bucket
from app.backups.content import BackupCorrupt, decode, encode
from app.backups.names import MANIFESTS, ObjectName, format_time, parse_name


class Manifest(BaseModel):
    """One part of a run's manifest: the keys of its objects, each of which ends in the object's checksum."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["latchkey-manifest-1"] = "latchkey-manifest-1"
    run_id: str
    part: int
    created_at: AwareDatetime
    objects: list[str]


def store_manifest(
    bucket: Bucket, *, run_id: str, started_at: datetime, part: int, created_at: datetime, objects: Sequence[ObjectName]
) -> str:
    """Store a part, before its objects count as stored anywhere else; returns its key."""
    manifest = Manifest(run_id=run_id, part=part, created_at=created_at, objects=[name.object_key for name in objects])
    body, checksum = encode(manifest)
    object_key = f"{MANIFESTS}{format_time(started_at)}.{run_id}.{part:05d}.{checksum}.json"
    bucket.put(object_key, body)
    return object_key


def read_manifest(bucket: Bucket, object_key: str) -> Iterator[ObjectName]:
    """Read the names that a part lists.

    Raises:
        BackupCorrupt: it is not what was stored.
    """
    checksum = object_key.removesuffix(".json").rpartition(".")[2]
    for name in decode(bucket.get(object_key), Manifest, checksum=checksum).objects:
        parsed = parse_name(name)
        if parsed is None:
            raise BackupCorrupt(f"It lists {name}, which is no name of ours.")
        yield parsed
