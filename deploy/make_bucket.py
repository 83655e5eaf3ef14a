"""Makes the backups' bucket in the S3 store that docker compose runs: versioned, and old versions do not stay. May be repeated.

On AWS the bucket belongs to whoever manages the account; this is for the store beside the roles.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import BucketLifecycleConfigurationTypeDef, LifecycleRuleTypeDef

_DAYS = 30  # as BACKUP_RETENTION_DAYS where it is not set


def lifecycle(retention_days: int) -> BucketLifecycleConfigurationTypeDef:
    """The bucket's rule: what was deleted, as a version, goes as long after that as a backup is kept after its successor.

    Latchkey itself deletes what has expired; in a versioned bucket that only hides it.
    """
    rule: LifecycleRuleTypeDef = {
        "ID": "latchkey-old-versions",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": retention_days},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
    }
    return {"Rules": [rule]}


def main() -> None:
    """Make S3_BUCKET at S3_ENDPOINT_URL if it is not there, and see that it keeps old versions, and not for ever."""
    bucket = os.environ["S3_BUCKET"]
    s3 = boto3.client("s3", endpoint_url=os.environ.get("S3_ENDPOINT_URL") or None)
    if bucket not in {found["Name"] for found in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=bucket)
    days = int(os.environ.get("BACKUP_RETENTION_DAYS") or _DAYS)
    # A store that lacks one of these has its bucket all the same: to be said, not to fail for.
    with _said(f"{bucket}: no versions: what is deleted or written over in it is gone"):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    with _said(f"{bucket}: no lifecycle: delete old versions yourself"):
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=lifecycle(days))


@contextmanager
def _said(consequence: str) -> Iterator[None]:
    try:
        yield
    except ClientError as exc:
        sys.stderr.write(f"{consequence} ({exc.response['Error']['Code']})\n")


if __name__ == "__main__":
    main()
