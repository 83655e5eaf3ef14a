#!/usr/bin/env bash
# Installs the pinned requirements into .venv, and the Celery exporter into .venv-exporter. Every failure is one line.
#
# PYTHON: the interpreter to use. STAMP: the file that says that these requirements are installed.
set -euo pipefail
cd "$(dirname "$0")/.."

log=.install.log
fail() {
  printf 'Setup failed: %s\n' "$1" >&2
  exit 1
}

explain() { # turns the installer's output into one line
  if grep -qiE 'name resolution|failed to (fetch|lookup)|connection (refused|reset|error)|timed out|network is unreachable|dns error' "$log"; then
    fail "the Python package index cannot be reached: check the network or the proxy (details: $log)"
  elif grep -qiE "(gcc|cc|g\+\+|clang)['\"]? failed|unable to execute|no such file.*(gcc|cc)|compiler" "$log"; then
    fail "a package has to be compiled here and there is no C compiler: install gcc or clang (details: $log)"
  elif grep -qi 'no space left' "$log"; then
    fail "the disk is full (details: $log)"
  fi
  fail "$(grep -iE 'error|×' "$log" | head -n 1 | cut -c1-200) (details: $log)"
}

quietly() { "$@" >"$log" 2>&1 || explain; }

command -v "$PYTHON" >/dev/null || fail "there is no Python: install 3.11 or newer, or say where it is: make PYTHON=/path/to/python3.11"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || fail "$("$PYTHON" -V 2>&1) is too old: install 3.11 or newer, or say where it is: make PYTHON=/path/to/python3.11"

echo "Installing into .venv (once) …"
if [ ! -x .venv/bin/python ]; then
  quietly "$PYTHON" -m venv .venv
fi
# uv installs in seconds what takes pip a minute; where there is no uv for the system, pip does it.
if [ -x .venv/bin/uv ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check uv >"$log" 2>&1; then
  install() { quietly .venv/bin/uv pip install --quiet --compile-bytecode --python "$1" "${@:2}"; }
else
  install() { quietly .venv/bin/python -m pip --python "$1" install --quiet --disable-pip-version-check "${@:2}"; }
fi
install .venv/bin/python -r requirements.txt -r requirements-dev.txt
# The package for other programs: tests, chaos and examples import it as they do. Built by the hatchling that was just installed.
install .venv/bin/python --no-deps --no-build-isolation -e ./client

# It pins libraries that Latchkey uses in other versions: an environment of its own, installed as pinned, unresolved.
if [ ! -x .venv-exporter/bin/python ]; then
  quietly .venv/bin/python -m venv --without-pip .venv-exporter
fi
install .venv-exporter/bin/python --no-deps -r requirements-exporter.txt

rm -f .venv/.installed-* "$log"
touch "$STAMP"
