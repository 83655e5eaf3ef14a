"""The tasks of backups: run, verify a sample, let what is old expire. They do nothing where no bucket is set."""

from __future__ import annotations

from datetime import timedelta

from app.backups.bucket import Bucket, make_bucket
from app.backups.expiry import expire_backups as expire
from app.backups.manifest_expiry import expire_manifests
from app.backups.run import back_up_sessions as back_up
from app.backups.verifying import verify_backups as verify
from app.logs import get_logger
from tasks.bootsteps import parts
from tasks.periodic import periodic_task

_log = get_logger(__name__)


@periodic_task("latchkey.back_up_sessions")
def back_up_sessions() -> None:
    """See ``app.backups.run``."""
    core = parts.core
    if (bucket := _bucket()) is None:
        return
    report = back_up(
        transaction=core.transaction,
        engine=core.engine,
        keyring=core.keyring,
        bucket=bucket,
        metrics=core.metrics,
    )
    if report is not None and (report.backed_up or report.erased or report.failed):
        _log.info("backups.ran", backed_up=report.backed_up, erased=report.erased, failed=report.failed)


@periodic_task("latchkey.verify_backups")
def verify_backups() -> None:
    """See ``app.backups.verifying``; each unusable object is logged there."""
    core = parts.core
    if (bucket := _bucket()) is None:
        return
    report = verify(
        transaction=core.transaction,
        engine=core.engine,
        trusted=core.settings.trusted_wrapping_keys,
        keyring=core.keyring,
        bucket=bucket,
        metrics=core.metrics,
        actor=core.actor,
    )
    _log.info("backups.verified", opened=len(report.verified), good=report.good)


@periodic_task("latchkey.expire_backups")
def expire_backups() -> None:
    """See ``app.backups.expiry``."""
    core = parts.core
    if (bucket := _bucket()) is None:
        return
    report = expire(
        transaction=core.transaction,
        engine=core.engine,
        keyring=core.keyring,
        bucket=bucket,
        metrics=core.metrics,
        retention=timedelta(days=core.settings.backup_retention_days),
        trusted=core.settings.trusted_wrapping_keys,
    )
    expire_manifests(
        core.transaction,
        core.keyring,
        bucket,
        retention=timedelta(days=core.settings.backup_retention_days),
        trusted=core.settings.trusted_wrapping_keys,
    )
    if report is not None and (report.expired or report.kept):
        _log.info("backups.expired", expired=report.expired, kept=report.kept)


def _bucket() -> Bucket | None:
    settings = parts.core.settings
    return make_bucket(settings) if settings.s3_bucket is not None else None
