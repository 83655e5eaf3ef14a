"""For operators and their machines: is it alive, can it serve, what did it count. No key needed."""

from __future__ import annotations

import os

from apiflask import APIBlueprint
from flask import Response, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from pydantic import BaseModel

from app.errors import NotFound
from app.metrics_state import StateCollector
from web.openapi import answers, answers_problems
from web.parts import parts
from web.problems import problem

_OPERATORS_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})

ops = APIBlueprint("ops", __name__, tag="Operations")


class HealthView(BaseModel):
    """The process lives."""

    status: str


class CheckView(BaseModel):
    """What one dependency said."""

    ok: bool
    needed: bool
    found: str


class ReadinessView(BaseModel):
    """Everything that is needed answers."""

    status: str
    checks: dict[str, CheckView]


@ops.get("/healthz")
@ops.output(HealthView)
def healthz() -> dict[str, str]:
    """Say that the process lives

    Looks at nothing else: a process that waits for its database must not be killed for it.
    """
    return {"status": "ok"}


@ops.get("/readyz")
@answers_problems("not_ready")
@ops.output(ReadinessView)
def readyz() -> dict[str, object] | Response:
    """Say whether this process can serve

    Asks every dependency, each for two seconds at most. What they said is told on the metrics address only, if there is one.
    """
    ready, checks = parts().readiness.look()
    if not _for_operators():
        checks = {}
    if ready:
        return {"status": "ready", "checks": checks}
    missing = ", ".join(name for name, found in checks.items() if found["needed"] and not found["ok"])
    return problem(
        status=503,
        code="not_ready",
        detail=f"Down: {missing}." if missing else "Something that is needed is down.",
        extras={"checks": checks},
        headers={"Retry-After": "5"},
    )


@ops.get("/metrics")
@ops.doc(responses=answers("Metrics.", media_type="text/plain"))
def metrics() -> Response:
    """Show the metrics in Prometheus' text format

    On the metrics address only, where there is one.
    """
    if not _for_operators():
        raise NotFound("Metrics are on the metrics address: METRICS_HOST and METRICS_PORT.")
    return Response(generate_latest(_scraped_registry()), content_type=CONTENT_TYPE_LATEST)


@ops.before_app_request
def nothing_else_on_the_metrics_address() -> None:
    """Keep the API off the address that only operators are to reach.

    Raises:
        NotFound: it is something else.
    """
    port = parts().core.settings.metrics_port
    if port is not None and _for_operators() and request.path not in _OPERATORS_PATHS:
        raise NotFound("Nothing but /healthz, /readyz and /metrics is here.")


def _for_operators() -> bool:
    """Whether the request came by the metrics address, or there is none: then everything is on the one that there is."""
    port = parts().core.settings.metrics_port
    return port is None or request.environ.get("SERVER_PORT") == str(port)


def _scraped_registry() -> CollectorRegistry:
    """What one scrape shows: the counts of all processes of this server, and the state of the database, once."""
    core, registry = parts().core, CollectorRegistry()
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        # The files hold what every process counted, this one too: its own registry on top would count it twice.
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(core.registry)
    registry.register(
        StateCollector(
            core.transaction,
            core.redis,
            tenants=core.metrics.tenants,
            rotation_days=core.settings.key_rotation_days,
            backed_up=core.settings.s3_bucket is not None,
        )
    )
    return registry
