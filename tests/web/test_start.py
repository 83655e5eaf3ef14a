"""What a web process reads before it answers, and what it does without."""

from __future__ import annotations

import subprocess
import sys

_ASK = """
import sys
from web.greenlets import patch
patch()
from web import factory
print(*(name for name in sys.argv[1:] if name in sys.modules))
"""


_HEAVY = ("telethon", "aiohttp", "cryptg", "gmpy2", "boto3", "alembic", "opentelemetry")


def test_the_web_starts_without_what_only_others_need() -> None:
    """Modules that take long to read, and that no call of the API needs, are not read by the web process."""
    read = subprocess.run([sys.executable, "-c", _ASK, *_HEAVY], check=True, capture_output=True, text=True)
    assert read.stdout.split() == []
