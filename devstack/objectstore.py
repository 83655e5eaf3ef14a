"""What backups and wrapped keys need of the emulated S3 and KMS: a versioned bucket, and a key with an alias.

The emulator forgets when it ends, so that this is done again at each of its starts. Knows nothing of what is stored.
"""

from __future__ import annotations

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

_QUICK = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 2})


def prepare_object_store(endpoint_url: str, *, bucket: str, key_alias: str, credentials: tuple[str, str]) -> bool:
    """Make the bucket and the key if they are not there; returns whether they are. May be repeated."""
    session = boto3.Session(
        aws_access_key_id=credentials[0], aws_secret_access_key=credentials[1], region_name="us-east-1"
    )
    try:
        s3 = session.client("s3", endpoint_url=endpoint_url, config=_QUICK)
        if bucket not in {found["Name"] for found in s3.list_buckets()["Buckets"]}:
            s3.create_bucket(Bucket=bucket)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        kms = session.client("kms", endpoint_url=endpoint_url, config=_QUICK)
        if key_alias not in {found["AliasName"] for found in kms.list_aliases()["Aliases"]}:
            key = kms.create_key(Description="Latchkey on one machine")
            kms.create_alias(AliasName=key_alias, TargetKeyId=key["KeyMetadata"]["KeyId"])
    except (BotoCoreError, ClientError):
        return False
    return True
