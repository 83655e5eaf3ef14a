"""The search for secrets in the open: in every log, and in everything that was ever sent to PostgreSQL and Redis.

What the stores hold was sent to them, so that their dumps are in what was recorded on the wire, and what they held for a
second as well: task arguments, events, hot state.
"""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path

from app.telegram.string_sessions import read_string_session
from chaos.record import Secrets
from chaos.visit import PASSWORD_MARK

_NOT_OURS = ("sandbox", "postgres", "redis")  # Telegram knows its own; the stores' wires are searched instead
_PART_BYTES = 24
_LONGEST_CODE = 8


def find_secrets(folder: Path, secrets: Secrets, *, known: bytes) -> Iterator[str]:
    """Say which secret is where.

    Args:
        known: something that does travel in the open: unless it is found, the search is blind.
    """
    wanted = {way: kind for kind, found in secrets.found.items() for secret in found for way in spellings(kind, secret)}
    wanted |= dict.fromkeys(spellings("password", PASSWORD_MARK.encode()), "password")
    needles = folder / "needles"
    needles.write_bytes(b"\n".join([*wanted, known]))
    logs = [log for log in sorted((folder / "logs").glob("*.log")) if not log.name.startswith(_NOT_OURS)]
    seen = False
    for place in (*sorted(folder.glob("*.wire")), *logs):
        for way in _grep(needles, place):
            seen |= way == known
            if way in wanted:
                yield f"a {wanted[way]} in {place.name}"
    needles.unlink()
    if not seen:
        yield "the search for secrets is blind: it does not find what travels in the open"


def spellings(kind: str, secret: bytes) -> Iterator[bytes]:
    """The ways in which a secret could be written down: as it is, in hexadecimal, inside something in base64.

    A part of it is enough, but for a code, which is short.
    """
    if kind == "login code":
        yield from (f'"{secret.decode()}"'.encode(), f'\\"{secret.decode()}\\"'.encode())
        return
    if kind == "login token":
        yield from _ways(base64.urlsafe_b64decode(secret + b"=" * (-len(secret) % 4)))
    if kind == "session string":
        yield from _ways(read_string_session(secret.decode())[0])
        return
    yield from _ways(secret)


def _ways(secret: bytes) -> Iterator[bytes]:
    part = _without_line_ends(secret)
    yield part
    yield part.hex().encode()
    for shift in range(3):  # where it begins in a longer text decides how its base64 looks
        inside = base64.b64encode(bytes(shift) + part)[4:-4]
        yield inside
        yield inside.translate(bytes.maketrans(b"+/", b"-_"))


def _without_line_ends(secret: bytes) -> bytes:
    """A part in which grep sees no end of a line."""
    return max(secret.split(b"\n"), key=len)[:_PART_BYTES]


def _grep(needles: Path, place: Path) -> set[bytes]:
    command = [
        "grep",
        "--fixed-strings",
        "--text",
        "--only-matching",
        "--no-filename",
        "--file",
        str(needles),
        str(place),
    ]
    done = subprocess.run(command, capture_output=True, check=False, env={"LC_ALL": "C"})
    return set(done.stdout.split(b"\n"))
