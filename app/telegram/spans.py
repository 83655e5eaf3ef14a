"""One span for each request to Telegram: its method, its data centre, and the error that came back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from app.errors import AppError, FloodWait
from app.telegram.errors import MigrateTo, NotAuthorized, PasswordNeeded, TelegramRefused
from app.tracing import span


@contextlib.contextmanager
def request_span(method: str, *, dc_id: int) -> Iterator[None]:
    """Make the block, which makes the request and raises what came back, a span."""
    with span(method, kind="CLIENT", rpc_system="mtproto", rpc_method=method, telegram_dc=dc_id) as notes:
        try:
            yield
        except (PasswordNeeded, MigrateTo) as exc:  # answers, as good as any
            notes.say("telegram.answer", _name(exc))
            raise
        except AppError as exc:
            notes.fail(_name(exc))
            raise


def _name(error: AppError) -> str:
    """As Telegram spells it, where it said anything."""
    match error:
        case FloodWait():
            return f"FLOOD_WAIT_{error.wait_seconds:.0f}"
        case TelegramRefused():
            return error.error
        case NotAuthorized():
            return error.cause.upper()
        case PasswordNeeded():
            return "SESSION_PASSWORD_NEEDED"
        case MigrateTo():
            return f"MIGRATE_{error.dc_id}"
    return error.code
