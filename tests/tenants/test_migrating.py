"""``python -m app migrate --wait``: what a role does before it starts, where another process migrates."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from sqlalchemy.engine import make_url

from devstack.roles import ROOT
from tests.tenants.commands import Run


def test_a_role_waits_for_the_schema_and_its_rights(
    run: Run, environment: dict[str, str], empty_database: Callable[[], str]
) -> None:
    """Not even its PostgreSQL role is there at first; the owner makes tables, role and rights; then the wait ends."""
    owner_url = make_url(empty_database())
    url = owner_url.set(username=f"waits_{owner_url.database}", password="x").render_as_string(hide_password=False)
    waiting = subprocess.Popen(
        (sys.executable, "-m", "app", "migrate", "--wait"),
        env=os.environ | environment | {"DATABASE_URL": url},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert waiting.stdout is not None
        assert waiting.stdout.readline().endswith("waiting.\n")
        owner = owner_url.render_as_string(hide_password=False)
        assert run("migrate", DATABASE_OWNER_URL=owner, DATABASE_URL=url).exit_code == 0
        assert waiting.stdout.read().splitlines()[-1] == "The database has what this version needs."
        assert waiting.wait(timeout=30) == 0
    finally:
        waiting.kill()
        waiting.wait()


def test_a_wait_for_what_is_there_changes_nothing_and_ends(run: Run) -> None:
    """At once."""
    assert run("migrate", "--wait").exit_code == 0
