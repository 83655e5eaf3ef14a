"""The client package on its own: a copied folder, under a name of the copier's choice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

FORBIDDEN = ("app", "web", "tasks", "celery", "flask", "sqlalchemy", "redis", "pydantic", "structlog")


def test_the_folder_may_be_copied_under_another_name(tmp_path: Path) -> None:
    """It needs Telethon and aiohttp, and nothing of Latchkey or of what Latchkey stands on."""
    source = Path(__file__).parents[2] / "client"
    shutil.copytree(source, tmp_path / "latchkey_client", ignore=shutil.ignore_patterns("__pycache__"))
    program = (
        "import sys, latchkey_client\n"
        "latchkey_client.Latchkey('http://127.0.0.1:1', 'lk_1').lease('ses_1')\n"
        f"print(sorted({{name.partition('.')[0] for name in sys.modules}} & set({FORBIDDEN!r})))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
