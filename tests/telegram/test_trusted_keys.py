"""Which RSA keys a handshake trusts. In a process of its own: Telethon keeps them in a global."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_PROGRAM = """
import sys
from pathlib import Path
from telethon.crypto import rsa
from app.telegram.preparation import prepare_telethon
from tests.builders import make_settings
key_file = Path(sys.argv[2]) if sys.argv[2] else None
before = dict(rsa._server_keys)
prepare_telethon(make_settings(database_url="postgresql://x@y/z", redis_url="redis://127.0.0.1",
    key_file=Path(sys.argv[1]), telegram_public_key_file=key_file))
kept = set(before) & set(rsa._server_keys)
old, brought = (sum(old for _, old in keys.values()) for keys in (rsa._server_keys, before))
print(len(rsa._server_keys), len(kept), old, brought)
"""


def trusted(tmp_path: Path, key_file: Path | str) -> list[int]:
    """How many keys are trusted; how many of those are Telethon's own, and old; how many old ones Telethon brings."""
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "key"), str(key_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_a_key_file_replaces_the_built_in_keys(tmp_path: Path) -> None:
    """Whoever runs a server of their own trusts that one, and nobody who could play Telegram to it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    pem = tmp_path / "server.pem"
    pem.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.PKCS1))
    total, own, old, _ = trusted(tmp_path, pem)
    assert (total, own, old) == (1, 0, 0)


def test_old_keys_are_not_trusted(tmp_path: Path) -> None:
    """Telegram's present keys are; those that it used before are not."""
    total, own, old, brought = trusted(tmp_path, "")
    assert brought > 0
    assert (own, old) == (total, 0)
    assert total > 0
