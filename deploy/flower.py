"""Flower's settings: nothing without a password, no pickle of state, no arguments beyond ids.

`FLOWER_BASIC_AUTH` is `name:password`. Flower without it would show every task's arguments to whoever finds the port, so
that a missing one ends the process at start.
"""

from __future__ import annotations

import os

_credentials = os.environ.get("FLOWER_BASIC_AUTH", "")
if ":" not in _credentials:
    raise SystemExit("FLOWER_BASIC_AUTH is not set: it must look like name:password")

basic_auth = [_credentials]
xheaders = True  # behind a proxy, log and compare the caller's own address
max_tasks = 10_000
inspect_timeout = 3_000.0
