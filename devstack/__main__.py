"""`python -m devstack up`, `demo` and `with-database`: the commands behind the Makefile's targets."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from devstack.console import Terminal
from devstack.database import with_database
from devstack.demo import demo
from devstack.errors import SetupError
from devstack.stack import OPTIONAL_PARTS
from devstack.up import up


def main() -> int:
    """Run the command and return its exit status; a failure of set-up is one line."""
    arguments = _parse()
    terminal = Terminal()
    try:
        if arguments.command == "demo":
            return asyncio.run(demo(terminal))
        if arguments.command == "with-database":
            return with_database(arguments.words)
        return asyncio.run(up(arguments.run_dir, without=arguments.without, dotenv=arguments.dotenv, terminal=terminal))
    except SetupError as error:
        terminal.failure(str(error))
        return 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m devstack", description="Latchkey's whole stack on one machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="log two people in, show what happens, end everything")
    database_parser = commands.add_parser("with-database", help="run a command with a migrated database of its own")
    database_parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND ...")
    up_parser = commands.add_parser("up", help="run the stack until Ctrl-C")
    up_parser.add_argument(
        "--run-dir",
        type=Path,
        default=Path(os.environ.get("RUN_DIR") or ".run"),
        help="its data, logs and description (RUN_DIR; .run)",
    )
    up_parser.add_argument(
        "--without", action="append", default=[], choices=sorted(OPTIONAL_PARTS), help="leave a part out (repeatable)"
    )
    up_parser.add_argument("--no-dotenv", dest="dotenv", action="store_false", help="do not read .env")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
