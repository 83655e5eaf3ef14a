"""One run, from its seed to its findings.

1. Draw from the seed who comes when and what strikes when.
2. Start a stack, let a few people log in, and measure it.
3. People come, faults strike.
4. The faults end; everybody plays their part to its end; everything settles.
5. Judge every login, session and answer; open every session; search for secrets; measure again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from chaos.aftermath import Finding, find_broken_rules, judge_all, open_all, settle, watch_rules
from chaos.cast import Part, draw_arrivals
from chaos.field import Field, open_field
from chaos.footprint import find_connections, find_growth, measure
from chaos.person import play
from chaos.record import Records
from chaos.residue import find_secrets
from chaos.scene import Scene
from chaos.story import Story
from chaos.strikes import Plan, draw_strikes
from chaos.tenant import Tenant
from chaos.weather import Weather

SETTLING_SECONDS = 300.0
"""How long what was put off may take: the pauses between two tries to log a key out grow to that."""

_WARM_UP_PEOPLE = 4
_WAITING_ENDS_EARLY_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Intensity:
    """How much happens.

    Args:
        seconds: how long people come and faults strike.
        login_seconds: a login's life.
    """

    seconds: float
    login_seconds: int = 50
    a_person_every_seconds: float = 1.0
    a_strike_every_seconds: float = 10.0


@dataclass
class Report:
    """What came of a run."""

    story: Story
    findings: list[Finding] = field(default_factory=list)
    excuses: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    strikes: int = 0

    def add(self, findings: list[str]) -> None:
        """Add findings that are nobody's in particular."""
        self.findings += [Finding(None, text) for text in findings]


async def run(seed: int, intensity: Intensity, *, folder: Path) -> Report:
    """Make one run.

    Args:
        folder: gets the story, the logs and what passed on the wires.

    Raises:
        SetupError: the stack cannot run here.
    """
    story, weather, records = Story(folder / "story.txt"), Weather(), Records()
    story.tell(f"seed {seed}, {intensity}")
    report = Report(story)
    async with (
        open_field(folder, story=story, weather=weather, login_seconds=intensity.login_seconds) as stack,
        Tenant(stack.web, stack.api_key) as tenant,
    ):
        scene = Scene(stack, tenant, records)
        records.secrets.add("API key", tenant.api_key)
        await _warm_up(scene)
        before = await stack.ask(measure, stack)
        watcher = asyncio.create_task(watch_rules(scene))
        await _perform(scene, seed, intensity)
        report.findings += await settle(scene, within_seconds=SETTLING_SECONDS)
        story.tell("everything has settled" if not report.findings else "NOT everything has settled")
        await _examine(scene, report)
        watcher.cancel()
        after = await stack.ask(measure, stack)
        report.add(list(find_growth(before, after, logins_at_once=_most_at_once(records))))
        report.add(await stack.ask(lambda: list(find_connections(stack))))
    report.strikes = len(weather.strikes)
    report.endings = Counter(record.seen[-1].status if record.seen else "never started" for record in records.logins)
    report.add(list(find_secrets(folder, records.secrets, known=b"latchkey.run_qr_login")))
    return report


async def _warm_up(scene: Scene) -> None:
    """Let some people log in in calm weather and a backup run, so that every process is at work before it is measured."""
    async with asyncio.TaskGroup() as group:
        for number in range(_WARM_UP_PEOPLE):
            part = Part(name="warm-up", has_password=number % 2 == 1, then=("lease", "validate"))
            group.create_task(play(scene, f"W{number}", part, Random(number)))
    while not await scene.field.ask(scene.field.rows, "SELECT 1 FROM backup_runs WHERE backed_up > 0"):  # noqa: ASYNC110
        await asyncio.sleep(0.3)


async def _perform(scene: Scene, seed: int, intensity: Intensity) -> None:
    """Let people come and faults strike as the seed says; returns when everybody has gone."""
    waiting_seconds = intensity.login_seconds - _WAITING_ENDS_EARLY_SECONDS
    arrivals = draw_arrivals(
        Random(f"{seed} people"),
        seconds=intensity.seconds,
        every_seconds=intensity.a_person_every_seconds,
        waiting_seconds=waiting_seconds,
    )
    strikes = draw_strikes(
        Random(f"{seed} strikes"), seconds=intensity.seconds, every_seconds=intensity.a_strike_every_seconds
    )
    began_at = time.monotonic()

    async with asyncio.TaskGroup() as people:
        async with asyncio.TaskGroup() as weather:
            for at, plan in strikes:
                weather.create_task(_at(began_at + at, _strike(scene.field, plan)))
            for number, (at, part) in enumerate(arrivals):
                name = f"P{number}"
                people.create_task(_at(began_at + at, _act(scene, name, part, Random(f"{seed} {name}"))))
        await _clear(scene.field)


async def _at(moment: float, what: Coroutine[Any, Any, None]) -> None:
    await asyncio.sleep(moment - time.monotonic())
    await what


async def _strike(stack: Field, plan: Plan) -> None:
    strike = stack.weather.begin(plan.name, plan.hurts)
    stack.story.tell(f"STRIKES: {plan.name}")
    try:
        await plan.act(stack, strike)
    finally:
        strike.ended_at = time.time()
        stack.story.tell(f"is over: {plan.name}")


async def _act(scene: Scene, name: str, part: Part, random: Random) -> None:
    try:
        await play(scene, name, part, random)
    except Exception as exc:
        scene.tell(name, f"could not go on: {type(exc).__name__} {exc}")
        raise


async def _clear(stack: Field) -> None:
    """End what may still be waiting for its call."""
    await stack.ask(stack.telegram.clear_faults)
    await stack.ask(stack.telegram.network, "ok", latency_ms=0)
    stack.story.tell("the weather is calm")


async def _examine(scene: Scene, report: Report) -> None:
    findings, report.excuses = await scene.field.ask(judge_all, scene)
    report.findings += findings
    report.findings += await open_all(scene)
    report.findings += await scene.field.ask(lambda: list(find_broken_rules(scene)))


def _most_at_once(records: Records) -> int:
    """How many logins were live at the busiest moment."""
    changes = [(record.asked_at, 1) for record in records.logins]
    changes += [(record.seen[-1].at, -1) for record in records.logins if record.seen]
    live = most = 0
    for _, change in sorted(changes):
        live += change
        most = max(most, live)
    return most
