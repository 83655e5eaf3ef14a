"""``python -m chaos --seed 7 --minutes 3``: a run, the stories of what went wrong, and exit status 1 if anything did."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from chaos.run import Intensity, Report, run
from devstack.errors import SetupError
from devstack.folder import remove_folder


def main() -> int:
    """Make one run and tell of it."""
    arguments = _parse()
    logging.getLogger("telethon").setLevel(logging.CRITICAL)  # what clients of ours run into is in the story
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="latchkey-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        print(f"{folder} is not empty: a run needs a folder of its own")
        return 1
    folder.chmod(0o711)  # a run as root hands PostgreSQL to an account that has to walk through
    print(f"seed {arguments.seed}, {arguments.minutes:g} minutes, in {folder}", flush=True)
    try:
        report = asyncio.run(run(arguments.seed, Intensity(seconds=60 * arguments.minutes), folder=folder))
    except SetupError as error:
        print(error)
        return 1
    tell(report)
    if report.findings:
        print(f"\nlogs and the whole story are in {folder}")
    elif arguments.keep is None:
        remove_folder(folder)
    return 1 if report.findings else 0


def tell(report: Report) -> None:
    """Print what came of a run: first whose story went wrong and how, then the figures."""
    for person in sorted({finding.person for finding in report.findings if finding.person}):
        print(f"\n--- the story of {person}")
        print("\n".join(report.story.of(person)))
    print(f"\n{len(report.findings)} findings")
    for finding in report.findings:
        print(f"  {finding.person or '*':<6} {finding.text}")
    print(f"logins: {_figures(report.endings)}")
    print(f"strikes: {report.strikes}; excused: {_figures(report.excuses) or 'none'}")


def _figures(counted: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counted.items()))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description="A whole stack in use, while faults strike.")
    parser.add_argument("--seed", type=int, default=1, help="decides who comes and what strikes")
    parser.add_argument("--minutes", type=float, default=2.0, help="how long people come and faults strike")
    parser.add_argument("--keep", type=Path, help="a folder for logs and story, kept in any case")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
