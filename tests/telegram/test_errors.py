"""What Telegram's errors mean to us."""

from __future__ import annotations

import pytest
from telethon.errors import rpc_message_to_error
from telethon.tl.functions.auth import SignInRequest
from telethon.tl.types import RpcError

from app.errors import AppError, FloodWait, Transient
from app.telegram.errors import MigrateTo, NotAuthorized, TelegramRefused
from app.telegram.translation import translate


def meaning(code: int, message: str) -> AppError:
    """Our error for one of Telegram's."""
    return translate(rpc_message_to_error(RpcError(code, message), SignInRequest("", "")), method="auth.signIn")


@pytest.mark.parametrize(
    "message", ["FLOOD_WAIT_17", "FLOOD_PREMIUM_WAIT_17", "SLOWMODE_WAIT_17", "2FA_CONFIRM_WAIT_17"]
)
def test_every_error_that_says_how_long_to_wait_is_a_flood_wait(message: str) -> None:
    """Whatever its name."""
    error = meaning(420, message)
    assert isinstance(error, FloodWait)
    assert error.wait_seconds == 17


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (500, "AUTH_RESTART"),
        (-503, "Timeout"),
        (-500, "No workers running"),
        (500, "SOMETHING_NEW"),
        (400, "CONNECTION_NOT_INITED"),
        (400, "MSG_WAIT_FAILED"),
    ],
)
def test_telegrams_own_trouble_passes(code: int, message: str) -> None:
    """Also when the server has forgotten how the connection began: a new one begins again."""
    assert isinstance(meaning(code, message), Transient)


def test_other_errors_keep_their_meaning() -> None:
    """Moves, deaths, and refusals, known to Telethon or not."""
    assert isinstance(moved := meaning(303, "PHONE_MIGRATE_4"), MigrateTo)
    assert moved.dc_id == 4
    assert isinstance(dead := meaning(401, "SESSION_REVOKED"), NotAuthorized)
    assert dead.cause == "session_revoked"
    for message in ("PHONE_CODE_INVALID", "SOMETHING_NEW"):
        assert isinstance(refused := meaning(400, message), TelegramRefused)
        assert refused.error == message
