"""The bucket: does it answer, does it keep what is deleted in it, for how long, and does it lock what we ask it to lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from app.doctor.finding import LOOK_SECONDS, Finding, reason
from app.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_NAME = "backups"
_MAKE = "run deploy/make_bucket.py with credentials that may, or do what it does by hand"
_NONE_SUCH = {"NoSuchLifecycleConfiguration", "ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration"}


def look_at_bucket(settings: Settings) -> Iterator[Finding]:
    """Ask for the bucket; then, if it is there, for its rules."""
    if settings.s3_bucket is None:
        yield Finding(_NAME, "warning", "S3_BUCKET is not set", "without it there are no backups")
        return
    import boto3  # takes a third of a second to import: only when there is a bucket
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(connect_timeout=LOOK_SECONDS, read_timeout=LOOK_SECONDS, retries={"total_max_attempts": 1})
    try:
        client = boto3.client("s3", endpoint_url=settings.s3_endpoint_url, config=config)
        client.head_bucket(Bucket=settings.s3_bucket)
    except (BotoCoreError, ClientError) as exc:
        advice = "make the bucket, or mend S3_BUCKET, S3_ENDPOINT_URL and the AWS credentials"
        yield Finding(_NAME, "failed", reason(exc), advice)
        return
    yield Finding(_NAME, "ok", f"bucket {settings.s3_bucket}")
    for look in (_versioning, _lifecycle, _lock):
        try:
            yield from look(client, settings)
        except (BotoCoreError, ClientError) as exc:
            found = f"{look.__name__.removeprefix('_')} could not be looked at: {reason(exc)}"
            yield Finding(_NAME, "warning", found, "look with credentials that may, or ask who runs the store")


def _versioning(client: S3Client, settings: Settings) -> Iterator[Finding]:
    answer = client.get_bucket_versioning(Bucket=str(settings.s3_bucket))
    if answer.get("Status") != "Enabled":
        yield Finding(_NAME, "warning", "no versioning: what is deleted or written over in the bucket is gone", _MAKE)


def _lifecycle(client: S3Client, settings: Settings) -> Iterator[Finding]:
    answer = _ask(lambda: client.get_bucket_lifecycle_configuration(Bucket=str(settings.s3_bucket)))
    rules = [rule for rule in answer.get("Rules", ()) if _covers(rule, settings.s3_prefix)]
    if not any("NoncurrentVersionExpiration" in rule for rule in rules):
        yield Finding(_NAME, "warning", "no lifecycle rule deletes old versions: what is erased stays in them", _MAKE)
    if any({"Days", "Date"} & set(rule.get("Expiration", ())) for rule in rules):
        found = "a lifecycle rule deletes current objects: backups go although nothing has replaced them"
        yield Finding(_NAME, "warning", found, "take its Expiration out: Latchkey expires backups itself")


def _covers(rule: Mapping[str, Any], prefix: str) -> bool:
    return rule["Status"] == "Enabled" and prefix.startswith(
        rule.get("Filter", {}).get("Prefix", rule.get("Prefix", ""))
    )


def _lock(client: S3Client, settings: Settings) -> Iterator[Finding]:
    if not settings.s3_object_lock_days:
        return
    answer = _ask(lambda: client.get_object_lock_configuration(Bucket=str(settings.s3_bucket)))
    if answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
        advice = "make a bucket with object lock (it cannot be added everywhere), or set S3_OBJECT_LOCK_DAYS to 0"
        yield Finding(_NAME, "failed", "S3_OBJECT_LOCK_DAYS is set, and the bucket locks nothing", advice)


def _ask(call: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    from botocore.exceptions import ClientError

    try:
        return call()
    except ClientError as exc:
        if exc.response["Error"]["Code"] in _NONE_SUCH:
            return {}
        raise
