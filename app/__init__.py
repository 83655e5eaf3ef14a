"""What Latchkey does. Knows nothing of HTTP (``web``) and nothing of Celery (``tasks``)."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import cast

# redis-py imports OpenTelemetry's SDK where it is installed, for figures that nobody here asks it for: 80 ms of every start.
# It is told that there is none. Who traces imports it later: app.otlp.
if "opentelemetry" not in sys.modules:
    sys.modules["opentelemetry"] = cast(ModuleType, None)
    try:
        import_module("redis")
    finally:
        del sys.modules["opentelemetry"]

__version__ = "0.1.0"
