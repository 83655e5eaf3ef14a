"""What Telethon needs once per process before the first connection."""

from __future__ import annotations

import logging

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from telethon.crypto import rsa as telethon_rsa

from app.setting_values import read_public_keys
from app.settings import Settings
from app.telegram import arithmetic, bounds
from app.telegram.connection import LOGGER_NAME


def prepare_telethon(settings: Settings) -> None:
    """Put the arithmetic right, bound what a server may send, and trust the right RSA keys.

    Those that TELEGRAM_PUBLIC_KEY_FILE names, and no others; without it Telethon's own, but for the old ones that Telegram does
    not use any more: whoever has got hold of one of those could play Telegram.
    """
    arithmetic.install()
    bounds.install()
    logging.getLogger(LOGGER_NAME).addFilter(_not_about_reconnecting)
    trusted = telethon_rsa._server_keys  # Telethon offers no way to take one out
    if settings.telegram_public_key_file is None:
        for fingerprint in [fingerprint for fingerprint, (_, old) in trusted.items() if old]:
            del trusted[fingerprint]
        return
    trusted.clear()
    for key in read_public_keys(settings.telegram_public_key_file):
        telethon_rsa.add_key(key.public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode(), old=False)


def _not_about_reconnecting(record: logging.LogRecord) -> bool:
    # Reconnecting is ours; that Telethon did not do it is no error.
    return "reconnection failed" not in record.msg
