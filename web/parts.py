"""What a web process is made of, built once by the app factory; views ask for it by ``parts()``."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from app.core import Core
from app.readiness import Readiness
from app.tenants.known_keys import KnownKeys
from app.tenants.limits import Limits
from web.event_watch import EventWatch
from web.http_metrics import HttpMetrics
from web.stream_caps import StreamCaps
from web.turns import Turns
from web.watch import LoginWatch

_NAME = "latchkey"


@dataclass(frozen=True)
class Parts:
    """The parts of one web process. ``starts`` lets starts of logins in, a few at a time."""

    core: Core
    known_keys: KnownKeys
    limits: Limits
    watch: LoginWatch
    event_watch: EventWatch
    stream_caps: StreamCaps
    starts: Turns
    readiness: Readiness
    http_metrics: HttpMetrics


def parts() -> Parts:
    """The parts of the app that serves the current request."""
    found = current_app.extensions[_NAME]
    assert isinstance(found, Parts)
    return found


def keep_parts(extensions: dict[str, object], built: Parts) -> None:
    """Hand the parts to an app."""
    extensions[_NAME] = built
