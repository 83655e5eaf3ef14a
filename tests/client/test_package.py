"""The client package on its own: a wheel that is built, installed and imported where nothing of Latchkey is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "client"
NOT_NEEDED = ("app", "web", "tasks", "celery", "flask", "sqlalchemy", "redis", "pydantic", "structlog", "telethon")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel, and nothing else in it."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    options = ("--no-deps", "--no-index")
    subprocess.run([*pip, "wheel", *options, "--no-build-isolation", "-w", folder, CLIENT], check=True, timeout=100)
    (wheel,) = folder.glob("latchkey_client-*-py3-none-any.whl")
    subprocess.run([*pip, "install", *options, "--target", folder / "site", wheel], check=True, timeout=100)
    return folder / "site"


def test_the_wheel_serves_alone(installed: Path) -> None:
    """It needs neither Latchkey nor what Latchkey stands on, and Telethon for leases alone."""
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(installed)!r})\n"
        "import latchkey_client\n"
        "latchkey = latchkey_client.Latchkey('http://127.0.0.1:1', 'lk_1')\n"
        f"print(latchkey_client.__file__.startswith({str(installed)!r}))\n"
        f"print(sorted({{name.partition('.')[0] for name in sys.modules}} & set({NOT_NEEDED!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=installed, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("True\n[]\n", "")


def test_a_lease_without_telethon_says_what_is_missing(installed: Path) -> None:
    """It is an extra: logins and webhooks do without."""
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(installed)!r})\n"
        "sys.modules['telethon'] = None\n"
        "import latchkey_client\n"
        "try:\n"
        "    latchkey_client.Latchkey('http://127.0.0.1:1', 'lk_1').lease('ses_1')\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=installed, capture_output=True, text=True, check=False
    )
    assert "latchkey-client[telethon]" in done.stdout, done.stderr


def test_the_wheel_says_that_it_is_typed(installed: Path) -> None:
    """Type checkers look for py.typed; tests are not part of the package."""
    assert (installed / "latchkey_client" / "py.typed").exists()
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {"latchkey_client"}
