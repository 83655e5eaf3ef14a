"""The key provider: does it wrap, and does it unwrap the keys that are stored."""

from __future__ import annotations

import os
from collections.abc import Callable

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session as DatabaseSession

from app.doctor.finding import Finding, reason
from app.errors import AppError, SealBroken
from app.models import EncryptionKey
from app.settings import Settings
from app.vault.providers import make_key_provider
from app.vault.wrapping import WrappedKey

_CHECK = "check KEY_PROVIDER and its settings"


def look_at_keys(settings: Settings, engine: Engine) -> Finding:
    """Wrap a key of no use, and unwrap it and every stored one."""
    try:
        provider = make_key_provider(settings)
        probe = os.urandom(32)
        wrapped = provider.wrap(key_id="doctor", data_key=probe)
        if provider.unwrap(wrapped) != probe:
            return Finding("keys", "failed", f"{provider.name} does not give back what it wrapped", "check its key")
        count = _unwrap_stored_keys(engine, provider.unwrap)
    except SealBroken as exc:
        return Finding("keys", "failed", exc.detail, "give this process the key that wrapped the stored ones")
    except AppError as exc:
        return Finding("keys", "failed", exc.detail, _CHECK)
    except SQLAlchemyError:
        found = f"{provider.name} works; the stored keys could not be read"
        return Finding("keys", "warning", found, "mend the database first")
    except Exception as exc:  # noqa: BLE001  # the provider's network: anything it says is a finding
        return Finding("keys", "failed", reason(exc), _CHECK)
    return Finding("keys", "ok", f"{provider.name}, unwraps {count} of {count} stored keys")


def _unwrap_stored_keys(engine: Engine, unwrap: Callable[[WrappedKey], bytes]) -> int:
    with DatabaseSession(engine) as db:
        keys = db.scalars(select(EncryptionKey).where(EncryptionKey.wrapped_key.is_not(None))).all()
    for key in keys:
        assert key.wrapped_key is not None
        unwrap(WrappedKey(key.id, key.provider, key.wrapping_key_id, key.wrapped_key))
    return len(keys)
