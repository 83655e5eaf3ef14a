"""The bucket: put, get, list and delete, with S3's errors told apart. Knows nothing of what the objects say.

Asks of the server only what every S3 server has. An object is never overwritten because no two have one name (see
``app.backups.names``), not because the server would refuse; encryption and locks are used where they are configured.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from app.clock import utc_now
from app.errors import AppError, Permanent, SettingsError, Transient
from app.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

PARALLEL = 8
_DELETE_BATCH = 1000  # S3's own limit
_CLIENT_CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=PARALLEL,
    # Newer checksums ride in a trailer that not every S3 server reads; ours are said outright.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
_PASSING = {"RequestTimeout", "RequestTimeTooSkewed", "OperationAborted", "TooManyRequests", "429"}  # among the 4xx


class ObjectMissing(Permanent):
    """Raised when there is no object of that name."""

    code = "backup_missing"


class Bucket:
    """A prefix of a bucket. Safe for threads. Keys are given and returned without the prefix."""

    def __init__(
        self, client: S3Client, *, name: str, prefix: str, put_options: dict[str, Any], lock_days: int
    ) -> None:
        self._s3 = client
        self.name = name
        self._prefix = prefix
        self._put_options = put_options
        self._lock_days = lock_days

    def put(self, key: str, body: bytes, *, locked: bool = True) -> None:
        """Store an object; S3 checks what arrives against its SHA-256.

        Args:
            locked: for as long as the settings say, if they do; False: it may be deleted at any time.
        """
        options = dict(self._put_options)
        if not locked:
            options.pop("ObjectLockMode", None)
        elif self._lock_days:
            options["ObjectLockRetainUntilDate"] = utc_now() + timedelta(days=self._lock_days)
        try:
            self._s3.put_object(
                Bucket=self.name,
                Key=self._prefix + key,
                Body=body,
                ContentType="application/json",
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=base64.b64encode(hashlib.sha256(body).digest()).decode(),
                **options,
            )
        except (ClientError, BotoCoreError) as exc:
            raise _translate(exc, f"{key} could not be stored") from exc

    def get(self, key: str) -> bytes:
        """Read an object.

        Raises:
            ObjectMissing: there is none of that name.
        """
        try:
            return self._s3.get_object(Bucket=self.name, Key=self._prefix + key)["Body"].read()
        except (ClientError, BotoCoreError) as exc:
            raise _translate(exc, f"{key} could not be read") from exc

    def list_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys under a prefix in their order, holding one page of a thousand at a time."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self._prefix + prefix)
        try:
            for page in pages:
                for entry in page.get("Contents", []):
                    yield entry["Key"].removeprefix(self._prefix)
        except (ClientError, BotoCoreError) as exc:
            raise _translate(exc, f"{prefix} could not be listed") from exc

    def delete(self, keys: Sequence[str]) -> list[str]:
        """Delete objects; returns the keys of those that are gone (one under a lock may not be)."""
        gone: list[str] = []
        for start in range(0, len(keys), _DELETE_BATCH):
            batch = keys[start : start + _DELETE_BATCH]
            try:
                answer = self._s3.delete_objects(
                    Bucket=self.name,
                    Delete={"Objects": [{"Key": self._prefix + key} for key in batch], "Quiet": True},
                )
            except (ClientError, BotoCoreError) as exc:
                raise _translate(exc, "objects could not be deleted") from exc
            kept = {error.get("Key", "").removeprefix(self._prefix) for error in answer.get("Errors", [])}
            gone += [key for key in batch if key not in kept]
        return gone

    def delete_versions(self, prefix: str) -> tuple[int, int]:
        """Delete every object under a prefix for good, with its old versions where the bucket keeps any.

        Returns:
            How many versions and markers are gone, and how many the bucket would not delete (a lock, say).
        """
        gone = kept = 0
        for page in self._version_pages(prefix):
            for start in range(0, len(page), _DELETE_BATCH):
                batch = page[start : start + _DELETE_BATCH]
                try:
                    answer = self._s3.delete_objects(Bucket=self.name, Delete={"Objects": batch, "Quiet": True})
                except (ClientError, BotoCoreError) as exc:
                    raise _translate(exc, "versions could not be deleted") from exc
                refused = len(answer.get("Errors", []))
                gone, kept = gone + len(batch) - refused, kept + refused
        return gone, kept

    def _version_pages(self, prefix: str) -> Iterator[list[ObjectIdentifierTypeDef]]:
        """Every version and marker under a prefix, a page at a time; of a store that knows no versions, the objects."""
        pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=self.name, Prefix=self._prefix + prefix)
        try:
            for page in pages:
                entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
                yield [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
        except (ClientError, BotoCoreError) as exc:
            if not _knows_no_versions(exc):
                raise _translate(exc, f"the versions of {prefix} could not be listed") from exc
            yield [{"Key": self._prefix + key} for key in self.list_keys(prefix)]


def make_bucket(settings: Settings) -> Bucket:
    """The bucket that the settings name. Credentials come the way boto3 looks for them; opens no connection yet.

    Raises:
        SettingsError: ``S3_BUCKET`` is not set.
    """
    if settings.s3_bucket is None:
        raise SettingsError("S3_BUCKET is not set: without it there are no backups")
    session = boto3.Session()  # boto3's own default one is not safe for threads
    client = session.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=session.region_name or "us-east-1",
        config=_CLIENT_CONFIG,
    )
    return Bucket(
        client,
        name=settings.s3_bucket,
        prefix=settings.s3_prefix,
        put_options=_put_options(settings),
        lock_days=settings.s3_object_lock_days,
    )


def _put_options(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if settings.s3_server_side_encryption is not None:
        options["ServerSideEncryption"] = settings.s3_server_side_encryption
    if settings.s3_sse_kms_key_id is not None:
        options["SSEKMSKeyId"] = settings.s3_sse_kms_key_id
    if settings.s3_object_lock_days:
        options["ObjectLockMode"] = settings.s3_object_lock_mode
    return options


def _knows_no_versions(exc: ClientError | BotoCoreError) -> bool:
    return isinstance(exc, ClientError) and exc.response["Error"]["Code"] in ("NotImplemented", "MethodNotAllowed")


def _translate(exc: ClientError | BotoCoreError, what: str) -> AppError:
    """Turn boto3's exception into ours: trouble on the way or on the server's side passes, a refusal lasts."""
    if not isinstance(exc, ClientError):
        return Transient(f"{what}: {type(exc).__name__}.", code="s3_unreachable")
    code, status = exc.response["Error"]["Code"], exc.response["ResponseMetadata"]["HTTPStatusCode"]
    if code in ("NoSuchKey", "404"):
        return ObjectMissing(f"{what}: it is not there.")
    if status >= 500 or code in _PASSING:
        return Transient(f"{what}: {code}.", code="s3_unreachable")
    return Permanent(f"{what}: {code}.", code="s3_refused")
