"""`make up`: everything the contract says of a running stack, on one that runs with all its parts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import redis
import requests

from app.periodic import PERIODIC_TASKS
from devstack.configuration import neutral_environment
from devstack.errors import SetupError
from devstack.roles import EXPORTER_PYTHON, ROOT
from devstack.running import RunningStack, running_stack
from tests.waiting import wait_until

_SMALL = ("flower", "exporter", "s3")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack with every part and two login workers."""
    with running_stack(tmp_path_factory.mktemp("stack"), login_workers=2) as running:
        yield running


def test_stack_file_has_the_contract_s_shape(stack: RunningStack) -> None:
    """stack.json names every address, key and process that the contract shows."""
    description = stack.description
    assert set(description) == {
        *(
            "web",
            "sandbox",
            "flower",
            "exporter",
            "worker_metrics",
            "beat_metrics",
            "s3",
            "database_url",
            "redis_url",
            "telegram",
        ),
        *("api_key", "admin_api_key", "tenant_id", "pids"),
    }
    assert set(description["telegram"]) == {"dc_id", "host", "port", "public_key_file"}
    assert {"web", "worker-logins-1", "worker-logins-2", "worker-background-1", "beat", "sandbox", "redis"} | {
        "postgres"
    } <= set(description["pids"])
    assert len(description["worker_metrics"]) == 3
    assert all(psutil.pid_exists(pid) for pid in description["pids"].values())


def test_files_with_secrets_are_private(stack: RunningStack) -> None:
    """Another user of the machine reads neither keys nor passwords nor logs."""
    for name in ("stack.json", "env", "local.key", "api-keys.json", "postgres.password", "flower.password"):
        assert (stack.folder / name).stat().st_mode & 0o077 == 0, name
    assert (stack.folder / "logs").stat().st_mode & 0o077 == 0


def test_a_process_has_the_secrets_of_its_role_alone(stack: RunningStack) -> None:
    """Beat, Flower and the exporter have no key and no database, as in production."""
    pids = stack.description["pids"]
    for name in {"beat", "flower", "exporter"} & set(pids):
        environment = psutil.Process(pids[name]).environ()
        known = {"DATABASE_URL", "DATABASE_OWNER_URL", "LOCAL_KEY_FILE", "TELEGRAM_API_HASH", "AWS_SECRET_ACCESS_KEY"}
        assert not known & set(environment), name
        assert "//service:" not in environment.get("REDIS_URL", "") or name == "beat"
    assert "DATABASE_OWNER_URL" not in psutil.Process(pids["web"]).environ()


def test_every_part_answers(stack: RunningStack) -> None:
    """When the stack says ready, each address works, and the web says so of its dependencies."""
    description = stack.description
    assert requests.get(f"{description['web']}/readyz", timeout=10).status_code == 200
    assert requests.get(f"{description['sandbox']}/stats", timeout=10).status_code == 200
    pages = [*description["worker_metrics"], f"{description['web']}/metrics"]
    assert all("telethon_sessions{" in requests.get(page, timeout=10).text for page in pages[-1:])
    assert all("telethon_auth_qr_start_total" in requests.get(page, timeout=10).text for page in pages[:-1])
    if EXPORTER_PYTHON.exists():
        told = requests.get(description["exporter"], timeout=10).text
        for name in ("celery_queue_length", "celery_active_worker_count"):  # what the alerts ask for
            assert f'{name}{{queue_name="logins"}}' in told


def test_every_role_has_an_operators_address(stack: RunningStack) -> None:
    """/metrics, /healthz and /readyz of workers and beat, with what each stands on; nothing else is there."""
    description = stack.description
    for page in (*description["worker_metrics"], description["beat_metrics"]):
        base = page.removesuffix("/metrics")
        assert requests.get(f"{base}/healthz", timeout=10).json() == {"status": "ok"}
        wait_until(partial(_is_ready, base))
        assert requests.get(f"{base}/readyz?verbose", timeout=10).json()["checks"]["redis"]["ok"]
        assert requests.get(f"{base}/", timeout=10).status_code == 404
    assert 'telethon_beat_sent_total{task="' in requests.get(description["beat_metrics"], timeout=10).text


def test_flower_wants_its_password(stack: RunningStack) -> None:
    """Flower shows tasks to nobody without FLOWER_BASIC_AUTH, and to whoever has it."""
    address = f"{stack.description['flower']}/api/workers"
    assert requests.get(address, timeout=10).status_code == 401
    name, _, password = _settings(stack)["FLOWER_BASIC_AUTH"].partition(":")
    assert requests.get(address, auth=(name, password), timeout=10).status_code == 200


def test_flower_remembers_logins_and_no_sweeps(stack: RunningStack) -> None:
    """What beat sends every second or two would push the logins out of Flower's ten thousand tasks within hours."""
    name, _, password = _settings(stack)["FLOWER_BASIC_AUTH"].partition(":")
    headers = {"Authorization": f"Bearer {stack.description['api_key']}"}
    login = requests.post(f"{stack.description['web']}/v1/logins", json={}, headers=headers, timeout=10).json()

    def tasks() -> list[dict[str, str]]:
        address = f"{stack.description['flower']}/api/tasks?limit=10000"
        return list(requests.get(address, auth=(name, password), timeout=10).json().values())

    wait_until(lambda: any(login["id"] in task["args"] for task in tasks() if task["name"] == "latchkey.run_qr_login"))
    with redis.Redis.from_url(stack.description["redis_url"]) as client:
        wait_until(lambda: all(client.hmget("latchkey:last-success", PERIODIC_TASKS[:1])))
    assert not {task["name"] for task in tasks()} & set(PERIODIC_TASKS)


def test_everything_listens_on_loopback_only(stack: RunningStack) -> None:
    """No process of the stack can be reached from another machine."""
    for pid in stack.description["pids"].values():
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        listening = [c for process in family for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert {c.laddr.ip for c in listening} <= {"127.0.0.1", "::1"}, psutil.Process(pid).cmdline()


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        ("app doctor", 0, "ok"),
        ("app login --phone 12", 1, "Check phone."),  # by the web role, to the key that the file has
        ("sandbox stats", 0, "violations"),
    ],
)
def test_env_file_makes_every_command_speak_to_the_stack(
    stack: RunningStack, command: str, status: int, says: str
) -> None:
    """After `set -a; . .run/env` no command needs to be told an address or a key."""
    script = f'set -a; . "{stack.folder / "env"}"; exec "{sys.executable}" -m {command}'
    done = subprocess.run(
        ["sh", "-c", script], cwd=ROOT, env=neutral_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert says in done.stdout + done.stderr


@pytest.mark.parametrize(
    "name", ["worker-logins-1", "worker-background-1", "web", "beat", "sandbox", "redis", "postgres"]
)
def test_killed_process_is_started_again_within_three_seconds(stack: RunningStack, name: str) -> None:
    """SIGKILL any process: within 3 s stack.json names its successor, and the stack is ready again soon after."""
    before, starts = stack.description, _times_ready(stack, name)
    os.kill(before["pids"][name], signal.SIGKILL)
    wait_until(lambda: stack.description["pids"][name] != before["pids"][name], within_seconds=3.0)
    wait_until(lambda: _times_ready(stack, name) > starts, within_seconds=30)
    wait_until(lambda: _is_ready(before["web"]), within_seconds=30)
    assert f"{name} was ended by SIGKILL; starting it again" in stack.output


def test_second_stack_in_the_same_folder_is_refused(stack: RunningStack) -> None:
    """It says in one line that the folder is in use and how to choose another, and disturbs nothing."""
    before = stack.description
    done = subprocess.run(
        [sys.executable, "-m", "devstack", "up", "--no-dotenv", "--run-dir", str(stack.folder)],
        cwd=ROOT,
        env=neutral_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "make up RUN_DIR=.run2" in done.stdout.splitlines()[-1]
    after = stack.description
    # What was killed just before this test may have taken others along, which start again meanwhile: not the stores.
    pids = before.pop("pids"), after.pop("pids")
    assert all(pids[0][name] == pids[1][name] for name in ("postgres", "redis", "sandbox"))
    assert after == before


def test_second_stack_beside_it_can_use_its_telegram(stack: RunningStack, tmp_path: Path) -> None:
    """With TELEGRAM_DC_ADDRESS set no sandbox is started; two stacks run side by side and end apart."""
    telegram = stack.description["telegram"]
    settings = {
        "TELEGRAM_DC_ADDRESS": f"{telegram['dc_id']}:{telegram['host']}:{telegram['port']}",
        "TELEGRAM_PUBLIC_KEY_FILE": telegram["public_key_file"],
    }
    with running_stack(tmp_path, settings=settings, without=_SMALL) as second:
        description = second.description
        assert description["sandbox"] is None
        assert "sandbox" not in description["pids"]
        assert description["telegram"] == telegram
        address = f"{description['web']}/v1/logins"
        login = requests.post(
            address, json={}, headers={"Authorization": f"Bearer {description['api_key']}"}, timeout=10
        ).json()
        headers = {"Login-Secret": login["client_secret"]}
        wait_until(lambda: requests.get(f"{address}/{login['id']}", headers=headers, timeout=10).json()["qr"])
    gone = [pid for pid in description["pids"].values() if psutil.pid_exists(pid)]
    assert not gone
    assert not (tmp_path / "stack.json").exists()
    assert requests.get(f"{stack.description['web']}/readyz", timeout=10).status_code == 200


def test_next_stack_in_a_folder_takes_up_what_the_last_one_left(tmp_path: Path) -> None:
    """Data, keys and ports survive Ctrl-C: the same API key works on the same database, at the same Telegram."""
    seen = []
    for keep in (True, False):
        with running_stack(tmp_path, without=_SMALL, keep=keep) as running:
            description = running.description
            headers = {"Authorization": f"Bearer {description['api_key']}"}
            answer = requests.get(f"{description['web']}/v1/sessions", headers=headers, timeout=10)
            seen.append((description["api_key"], description["telegram"]["port"], answer.status_code))
    assert seen == [(*seen[0][:2], 200)] * 2


def test_taken_port_is_one_line(stack: RunningStack, tmp_path: Path) -> None:
    """A PORT that is in use ends the start with one line that names the setting."""
    taken = stack.description["web"].rpartition(":")[2]
    with (
        pytest.raises(SetupError, match=rf"Port {taken} is taken: choose another PORT"),
        running_stack(tmp_path, settings={"PORT": taken}),
    ):
        pass


def test_redis_is_shared_with_nobody(stack: RunningStack) -> None:
    """The stack's Redis is its own: what another one on this machine holds is not in it."""
    with redis.Redis.from_url(stack.description["redis_url"], decode_responses=True) as client:
        assert client.config_get("dir")["dir"] == str(stack.folder / "redis")


def _times_ready(stack: RunningStack, name: str) -> int:
    """How often the stack has said that a program is ready."""
    return len(re.findall(rf"^  \S+ {name} +[\d.]+ s$", stack.output, flags=re.MULTILINE))


def _is_ready(web: str) -> bool:
    try:
        return requests.get(f"{web}/readyz", timeout=10).status_code == 200
    except requests.ConnectionError:
        return False


def _settings(stack: RunningStack) -> dict[str, str]:
    done = subprocess.run(
        ["sh", "-c", f'set -a; . "{stack.folder / "env"}"; exec "{sys.executable}" -c "$0"', _DUMP],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


_DUMP = "import json, os; print(json.dumps(dict(os.environ)))"
