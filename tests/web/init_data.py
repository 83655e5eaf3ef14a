"""``initData`` as Telegram signs it, written from its documentation, not with the library that checks it.

Source: https://core.telegram.org/bots/webapps#validating-data-received-via-the-mini-app
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

BOT_ID = 987654321
BOT_TOKEN = f"{BOT_ID}:AAF-made-up-token_of-a-bot"


def unsigned(*, user_id: int = 42, age_seconds: float = 0, **fields: str) -> dict[str, str]:
    """The fields of somebody's initData; a user of 0 is left out."""
    user = {"id": user_id, "first_name": "Zoë & Co", "language_code": "pt-br", "something_new": [1]}
    return {
        "query_id": "AAHdF6IQAAAAAN0XohDhrOrc",
        "auth_date": str(int(time.time() - age_seconds)),
        **({"user": json.dumps(user, ensure_ascii=False)} if user_id else {}),
        **fields,
    }


def sign_by_token(fields: dict[str, str], *, token: str = BOT_TOKEN) -> str:
    """Sign with the bot's token, for the bot's own server."""
    secret = hmac.digest(b"WebAppData", token.encode(), "sha256")
    signed = hmac.new(secret, _lines(fields).encode(), hashlib.sha256).hexdigest()
    return urlencode(fields | {"hash": signed})


def sign_by_telegram(fields: dict[str, str], *, key: Ed25519PrivateKey, bot_id: int = BOT_ID) -> str:
    """Sign as Telegram does for those who don't have the token; the hash means nothing to them."""
    signature = key.sign(f"{bot_id}:WebAppData\n{_lines(fields)}".encode())
    encoded = base64.urlsafe_b64encode(signature).decode().rstrip("=")
    return urlencode(fields | {"signature": encoded, "hash": "0" * 64})


def init_data(*, user_id: int = 42, age_seconds: float = 0, **fields: str) -> str:
    """Somebody's initData, as it should be."""
    return sign_by_token(unsigned(user_id=user_id, age_seconds=age_seconds, **fields))


def _lines(fields: dict[str, str]) -> str:
    return "\n".join(f"{name}={fields[name]}" for name in sorted(fields))
