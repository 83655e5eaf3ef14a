"""Makes the backups' bucket, versioned, in the S3 store that docker compose runs. May be repeated.

On AWS the bucket belongs to whoever manages the account; this is for the store beside the roles.
"""

from __future__ import annotations

import os

import boto3


def main() -> None:
    """Make S3_BUCKET at S3_ENDPOINT_URL if it is not there."""
    bucket = os.environ["S3_BUCKET"]
    s3 = boto3.client("s3", endpoint_url=os.environ.get("S3_ENDPOINT_URL") or None)
    if bucket not in {found["Name"] for found in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


if __name__ == "__main__":
    main()
