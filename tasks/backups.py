"""The tasks of backups: run, verify a sample, let what is old expire. They do nothing where no bucket is set."""

from __future__ import annotations

from datetime import timedelta

from app.backups.bucket import Bucket, make_bucket
from app.backups.expiry import expire_backups as expire
from app.backups.manifest_expiry import expire_manifests
from app.backups.run import back_up_sessions as back_up
from app.backups.verifying import verify_backups as verify
from app.errors import Permanent, Transient, Unavailable
from app.logs import get_logger
from tasks.bootsteps import parts
from tasks.celery_app import celery_app

_log = get_logger(__name__)


@celery_app.task(name="latchkey.back_up_sessions", ignore_result=True)
def back_up_sessions() -> None:
    """See ``app.backups.run``."""
    core = parts.core
    if (bucket := _bucket()) is None:
        return
    try:
        report = back_up(
            transaction=core.transaction,
            engine=core.engine,
            keyring=core.keyring,
            bucket=bucket,
            metrics=core.metrics,
        )
    except (Transient, Unavailable) as exc:
        _log.warning("backups.put_off", detail=exc.detail)
        return
    except Permanent as exc:
        _log.error("backups.refused", code=exc.code, detail=exc.detail)
        return
    if report is not None and (report.backed_up or report.erased or report.failed):
        _log.info("backups.ran", backed_up=report.backed_up, erased=report.erased, failed=report.failed)


@celery_app.task(name="latchkey.verify_backups", ignore_result=True)
def verify_backups() -> None:
    """See ``app.backups.verifying``; each unusable object is logged there."""
    core = parts.core
    if (bucket := _bucket()) is None:
        return
    try:
        report = verify(
            transaction=core.transaction,
            engine=core.engine,
            trusted=core.settings.trusted_wrapping_keys,
            keyring=core.keyring,
            bucket=bucket,
            metrics=core.metrics,
            actor=core.actor,
        )
    except (Transient, Unavailable) as exc:
        _log.warning("backups.verification_put_off", detail=exc.detail)
        return
    _log.info("backups.verified", opened=len(report.verified), good=report.good)


@celery_app.task(name="latchkey.expire_backups", ignore_result=True)
def expire_backups() -> None:
    """See ``app.backups.expiry``."""
    core = parts.core
    if (bucket := _bucket()) is None:
        return
    try:
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
    except (Transient, Unavailable) as exc:
        _log.warning("backups.expiry_put_off", detail=exc.detail)
        return
    except Permanent as exc:
        _log.error("backups.expiry_refused", code=exc.code, detail=exc.detail)
        return
    if report is not None and (report.expired or report.kept):
        _log.info("backups.expired", expired=report.expired, kept=report.kept)


def _bucket() -> Bucket | None:
    settings = parts.core.settings
    return make_bucket(settings) if settings.s3_bucket is not None else None
