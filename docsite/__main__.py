"""`python -m docsite`: write the generated pages, or with --check say which of them the code has left behind."""

from __future__ import annotations

import argparse
import sys

from docsite.pages import differing, write


def main() -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m docsite", description="The generated pages of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not as the code says")
    if not parser.parse_args().check:
        write()
        return 0
    for name in (old := differing()):
        print(f"docs/{name} is not what the code says now: make docs writes it anew", file=sys.stderr)
    return 1 if old else 0


if __name__ == "__main__":
    raise SystemExit(main())
