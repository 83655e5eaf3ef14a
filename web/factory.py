"""Builds the web application of one process from its settings."""

from __future__ import annotations

from apiflask import APIFlask
from flask.json.provider import DefaultJSONProvider
from werkzeug.middleware.proxy_fix import ProxyFix

from app.checks import make_checks
from app.core import Core, build_core
from app.dispatch import make_dispatch, make_producer
from app.logins.store import read_versions
from app.logs import configure_logs
from app.metrics_tenants import know_tenants
from app.readiness import Readiness
from app.redis_state import make_subscriber
from app.settings import Settings, load_settings
from app.tenants.keys import find_barred
from app.tenants.known_keys import KnownKeys
from app.tenants.limits import Limits
from app.tracing import start_tracing
from web.cross_origin import install_cross_origin
from web.etags import install_etags
from web.event_watch import EventWatch
from web.http_metrics import HttpMetrics
from web.observe import install_observation
from web.openapi import SECURITY_SCHEMES, install_openapi
from web.parsing import install_parsing
from web.parts import Parts, keep_parts
from web.polls import Polls
from web.problems import install_problems
from web.rate_headers import install_rate_headers
from web.stream_caps import StreamCaps
from web.turns import Turns
from web.views import BLUEPRINTS
from web.watch import LoginWatch

_POOL_SIZE = 12
_STATEMENT_SECONDS = 8  # whoever calls must have its 503 before it gives up by itself


def create_app(settings: Settings | None = None) -> APIFlask:
    """Build the web application. Needs no store yet; asks PostgreSQL which tenants there are, if it is there.

    Args:
        settings: None reads the environment, and sets up the process's logs by it.

    Raises:
        SettingsError: a setting is missing or senseless.
    """
    if settings is None:
        settings = load_settings()
        configure_logs(level=settings.log_level, log_format=settings.log_format, process="web")
    provider = start_tracing(settings, role="web")
    core = build_core(
        settings,
        role="web",
        dispatch=make_dispatch(make_producer(settings)),
        pool_size=_POOL_SIZE,
        statement_seconds=_STATEMENT_SECONDS,
    )
    know_tenants(core.transaction, core.metrics.tenants)
    app = APIFlask(
        __name__,
        title="Latchkey",
        version="1",
        spec_path="/openapi.json",
        docs_path=None,
        json_errors=False,
        static_folder=None,  # type: ignore[arg-type]  # Flask itself takes None: no such route
    )
    app.config.update(_config(settings))
    assert isinstance(app.json, DefaultJSONProvider)
    app.json.sort_keys = app.json.ensure_ascii = False
    built = _build_parts(core)
    keep_parts(app.extensions, built)
    install_observation(app)
    if provider is not None:
        from web.tracing import trace_requests

        trace_requests(app, provider, core)
    else:  # who traces wants spans, and those are Flask's
        app.wsgi_app = Polls(app.wsgi_app, built)  # type: ignore[method-assign]
    install_parsing(app)
    install_problems(app)
    install_etags(app)
    install_rate_headers(app)
    install_cross_origin(app)
    install_openapi(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    return app


def _build_parts(core: Core) -> Parts:
    def versions(login_ids: list[str]) -> dict[str, int]:
        with core.transaction() as db:
            return read_versions(db, login_ids)

    def barred(key_ids: set[str], tenant_ids: set[str]) -> tuple[set[str], set[str]]:
        with core.transaction() as db:
            return find_barred(db, key_ids=key_ids, tenant_ids=tenant_ids)

    return Parts(
        core=core,
        known_keys=KnownKeys(core.read_row, core.transaction),
        limits=Limits(core.redis),
        watch=LoginWatch(
            make_subscriber=lambda: make_subscriber(core.settings.redis_url),
            read_versions=versions,
            find_barred=barred,
        ),
        event_watch=EventWatch(transaction=core.transaction, find_barred=barred),
        stream_caps=StreamCaps(core.settings),
        starts=Turns(),
        readiness=Readiness(make_checks(core)),
        http_metrics=HttpMetrics(core.registry),
    )


def _config(settings: Settings) -> dict[str, object]:
    return {
        "PUBLIC_URL": settings.public_url.rstrip("/"),
        "DESCRIPTION": "Connects Telegram accounts by QR login and keeps the sessions safe.",
        "SERVERS": [{"url": settings.public_url.rstrip("/")}],
        "AUTO_SERVERS": False,
        "SECURITY_SCHEMES": SECURITY_SCHEMES,
        # web.openapi says what can go wrong, as problem+json:
        "AUTO_404_RESPONSE": False,
        "AUTO_AUTH_ERROR_RESPONSE": False,
        "AUTO_VALIDATION_ERROR_RESPONSE": False,
    }
