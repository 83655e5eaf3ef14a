"""The bucket that docker compose makes: versioned, and what was deleted there does not stay for ever."""

from __future__ import annotations

import boto3
import pytest

from app.ids import new_id
from deploy.make_bucket import main


def test_a_bucket_is_versioned_and_its_old_versions_go(aws_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After as many days as backups are kept; made twice it is the same bucket."""
    name = new_id("bucket").replace("_", "-")
    monkeypatch.setenv("S3_BUCKET", name)
    monkeypatch.setenv("S3_ENDPOINT_URL", aws_url)
    monkeypatch.setenv("BACKUP_RETENTION_DAYS", "17")
    main()
    main()
    s3 = boto3.client("s3", endpoint_url=aws_url)
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    [rule] = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert rule["Status"] == "Enabled"
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 17}
    assert "Days" not in rule["Expiration"], "what is current never expires by the bucket's own doing"


def test_a_store_without_either_gets_its_bucket_and_a_word(
    s3_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real server here knows no versions and no rules: each is said."""
    name = new_id("bucket").replace("_", "-")
    monkeypatch.setenv("S3_BUCKET", name)
    monkeypatch.setenv("S3_ENDPOINT_URL", s3_url)
    main()
    assert name in {found["Name"] for found in boto3.client("s3", endpoint_url=s3_url).list_buckets()["Buckets"]}
    said = capsys.readouterr().err
    assert "no versions" in said
    assert "no lifecycle" in said
