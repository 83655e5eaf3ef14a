"""Several commands of ``python -m app`` in one process: to import Latchkey takes longer than any of them.

``python -m devstack.app_commands '[["migrate"], ["tenant", "create", "demo"]]'`` prints what each has printed, as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO

from app.cli import cli


def run_command(words: Sequence[str]) -> str:
    """Run a command and return what it printed; exit as it does when it fails."""
    with redirect_stdout(StringIO()) as printed:
        try:
            cli(words, prog_name="python -m app")
        except SystemExit as end:
            if end.code:
                raise
    return printed.getvalue()


if __name__ == "__main__":
    print(json.dumps([run_command(words) for words in json.loads(sys.argv[1])]))
