"""The web application, built to be looked at: with settings of its own, and no store behind it."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apiflask import APIFlask

from app.settings import Settings
from web import create_app
from web.parts import Parts

_NOBODY = "127.0.0.1:1"  # where nothing listens: what is asked for is refused at once


@contextmanager
def application() -> Iterator[APIFlask]:
    """The application of the defaults, for the length of a block; nobody's environment changes it."""
    with tempfile.TemporaryDirectory() as folder:
        key_file = Path(folder, "key")
        key_file.write_bytes(base64.b64encode(bytes(32)))
        app = create_app(
            Settings(
                _env_file=None,
                database_url=f"postgresql://nobody@{_NOBODY}/none",
                redis_url=f"redis://{_NOBODY}/0",
                telegram_api_id=1,
                telegram_api_hash="none",
                local_key_file=key_file,
                s3_bucket="none",
            )
        )
        yield app
        parts: Parts = app.extensions["latchkey"]
        parts.watch.close()
        parts.core.engine.dispose()
        parts.core.redis.close()
