"""PostgreSQL and Redis of a benchmark's own, with a process's parts on them; what is dispatched goes nowhere."""

from __future__ import annotations

import base64
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.core import Core, build_core
from app.migrations import migrate
from app.settings import Settings
from devstack.files import kept_secret
from devstack.folder import remove_folder
from devstack.ports import free_port
from devstack.postgres import prepare_postgres
from devstack.programs import running
from devstack.redis import redis_program, redis_url


@contextlib.contextmanager
def core_on_stores() -> Iterator[tuple[Core, Path]]:
    """Run the stores for the length of a block.

    Yields:
        The parts, and the folder that the stores are in.
    """
    folder = Path(tempfile.mkdtemp(prefix="latchkey-bench-"))
    folder.chmod(0o711)
    port = free_port()
    postgres = prepare_postgres(folder, port=free_port(), log=folder / "postgres.log")
    try:
        with running(postgres.program), running(redis_program(folder, port=port, log=folder / "redis.log")):
            postgres.create_database("bench")
            key_file = folder / "key"
            kept_secret(key_file, make=lambda: base64.b64encode(os.urandom(32)).decode())
            settings = Settings(
                _env_file=None,
                database_url=postgres.url("bench"),
                redis_url=redis_url(port),
                telegram_api_id=12345,
                telegram_api_hash="0",
                local_key_file=key_file,
            )
            core = build_core(settings, role="bench", dispatch=_nowhere)
            migrate(core.engine)
            yield core, folder
            core.engine.dispose()
            core.redis.close()
    finally:
        remove_folder(folder)


def _nowhere(task: str, *args: str, countdown_seconds: float = 0.0) -> bool:
    return bool(task or args or countdown_seconds)
