"""Whose an auth key is, as Telegram says it. The web does without it, and so without Telethon."""

from __future__ import annotations

from typing import Any

from telethon.tl.types import User

from app.errors import Transient
from app.sessions.claim import Account


def account_of(users: Any) -> Account:
    """Read what ``users.getUsers`` says about ourselves.

    Raises:
        Transient: it says nothing: no user, or an empty one.
    """
    user = next(iter(users), None)
    if not isinstance(user, User):
        raise Transient("Telegram did not say who is logged in.")
    return Account(telegram_user_id=int(user.id), username=user.username, first_name=user.first_name, phone=user.phone)
