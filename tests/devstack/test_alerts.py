"""The alerts: each has a test of promtool's and a page that says what to do, whose commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from app.cli import cli
from tests.devstack.prometheus import FOLDER, ROOT, alerts, program, unknown_names

_RUNBOOKS = ROOT / "docs" / "runbooks"
_TESTS = sorted((FOLDER / "tests").glob("*.yml"))
_SERVICES = set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
_OBJECTIVES = {
    "ScannedLoginsFail",
    "ScannedLoginsFailSlowly",
    "QRCodesSlow",
    "SessionCleanupSlow",
    "FloodWaitsTooMany",
    "LoginsExpireTooOften",
    "ValidationLate",
    "BackupOld",
    "BackupGaps",
    "KeyRotationOverdue",
    "WebhookBacklog",
}


def test_the_configuration_is_prometheus_own() -> None:
    """What docker-compose.yml hands to Prometheus is what Prometheus reads."""
    subprocess.run([program("promtool"), "check", "config", FOLDER / "prometheus.yml"], check=True)


@pytest.mark.parametrize("path", _TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should(path: Path) -> None:
    """promtool plays series to the rules and compares the alerts, with all that they say."""
    done = subprocess.run(
        [program("promtool"), "test", "rules", path.name], cwd=path.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_objective_has_an_alert() -> None:
    """What was promised is watched; each alert says how urgent it is, what is wrong and where to look first."""
    assert set(alerts()) >= _OBJECTIVES
    for alert in alerts().values():
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert set(alert["annotations"]) == {"summary", "look", "runbook_url"}


def test_each_alert_is_tested_to_fire() -> None:
    """No alert without a case of promtool's in which it fires, and no case without its alert."""
    cases = [case for path in _TESTS for test in yaml.safe_load(path.read_text())["tests"] for case in _cases(test)]
    assert {case["alertname"] for case in cases} <= set(alerts())
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == set(alerts())


@pytest.mark.parametrize("name", sorted(alerts()))
def test_each_alert_has_its_page(name: str) -> None:
    """Symptom, causes, commands: at the address that the alert tells."""
    path = ROOT / alerts()[name]["annotations"]["runbook_url"]
    assert path == _RUNBOOKS / f"{name}.md"
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), flags=re.MULTILINE)
    assert headings == [name, "Symptom", "Causes", "Commands"]
    assert re.search(r"^```sh$", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", sorted(_RUNBOOKS.glob("[A-Z]*.md")), ids=lambda path: path.stem)
def test_what_a_page_says_to_type_exists(path: Path) -> None:
    """Every page belongs to an alert; its commands, services and queries are real ones."""
    assert path.stem in alerts()
    for kind, block in re.findall(r"```(\w+)\n(.*?)```", path.read_text(), flags=re.DOTALL):
        for line in filter(None, (line.strip() for line in block.splitlines())):
            if kind == "promql":
                assert not unknown_names(line)
            else:
                _check_command(shlex.split(line, comments=True))


def test_pages_name_log_lines_that_are_written() -> None:
    """Whoever looks for a line in a log finds it by the name that the code gives it."""
    code = "".join(path.read_text() for folder in ("app", "tasks", "web") for path in (ROOT / folder).rglob("*.py"))
    pages = "".join(
        re.sub(r"```promql.*?```", "", path.read_text(), flags=re.DOTALL) for path in _RUNBOOKS.glob("[A-Z]*.md")
    )
    named = set(
        re.findall(r"\b(?:backups?|flood|hints|logins?|periodic|session|validator|webhook|worker)\.[a-z_]{2,}", pages)
    )
    named |= {
        f"{area}.{what}" for area, several in re.findall(r"(\w+)\.\(([\w|]+)\)", pages) for what in several.split("|")
    }
    assert len(named) > 10
    assert not {name for name in named if f'"{name}"' not in code}


def _cases(test: dict[str, Any]) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = test.get("alert_rule_test", [])
    return cases


def _check_command(words: list[str]) -> None:
    """Fail unless this is a command that there is, with services and options that there are."""
    words = words[: words.index("|")] if "|" in words else words
    match words:
        case []:
            return
        case ["docker", "compose", "exec", service, *command]:
            assert service in _SERVICES
            _check_command(command)
        case ["docker", "compose", "ps" | "logs" | "restart" | "up" as verb, *rest]:
            named = {word for word in rest if not word.startswith("-") and not re.fullmatch(r"\d+[mh]", word)}
            assert {name.partition("=")[0] for name in named} <= _SERVICES, verb
        case ["python", "-m", "app", *command]:
            _check_subcommand(command)
        case [program, *_]:
            assert program in {"redis-cli", "psql", "celery"}, words


def _check_subcommand(words: list[str]) -> None:
    command: click.Command = cli
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None, words
        command = found
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options
