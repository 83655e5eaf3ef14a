"""The web application in this process, on a test's own PostgreSQL and Redis, and its callers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core import Core
from app.models import Tenant
from app.settings import Settings
from app.tenants.keys import SCOPES, create_api_key
from app.tenants.store import create_tenant
from devstack.ports import free_port
from devstack.programs import running
from devstack.redis import redis_url as make_redis_url
from tests.builders import make_core, make_settings
from tests.web.axe import NotAtHand, install_axe
from tests.web.browser import Page, browsing
from tests.web.callers import Caller, with_key
from tests.web.init_data import BOT_TOKEN
from tests.web.live import Live, server_program
from tests.web.page_states import LOGO
from web import create_app
from web.parts import Parts

MakeClient = Callable[..., tuple[FlaskClient, Parts]]


@pytest.fixture
def database_url(emptied_database: str) -> str:
    """The run's database, emptied."""
    return emptied_database


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings of a test's own stores, with limits that tests do not run into by accident."""
    return make_settings(
        database_url=database_url,
        redis_url=redis_url,
        key_file=tmp_path / "key",
        login_rate_per_minute=1000,
        strict_rate_per_minute=1000,
        public_url="https://latchkey.example",
    )


@pytest.fixture
def make_client(settings: Settings) -> Iterator[MakeClient]:
    """Builds applications whose settings differ from the usual ones."""
    built: list[Parts] = []

    def make(**overrides: Any) -> tuple[FlaskClient, Parts]:
        app = create_app(settings.model_copy(update=overrides))
        built.append(app.extensions["latchkey"])
        return app.test_client(), built[-1]

    yield make
    for parts in built:
        parts.watch.close()
        parts.event_watch.close()
        parts.core.engine.dispose()
        parts.core.redis.close()


@pytest.fixture
def web(make_client: MakeClient) -> tuple[FlaskClient, Parts]:
    """An application with the tenants Alice and Bob."""
    client, parts = make_client()
    for name in ("alice", "bob"):
        create_tenant(parts.core.transaction, actor="test", tenant_id=name, name=name.capitalize())
    return client, parts


@pytest.fixture
def core(web: tuple[FlaskClient, Parts]) -> Core:
    """The application's parts that ``app`` knows."""
    return web[1].core


@pytest.fixture
def alice(web: tuple[FlaskClient, Parts]) -> Caller:
    """Alice, with every scope."""
    return with_key(web[0], web[1].core, tenant_id="alice")


@pytest.fixture
def bob(web: tuple[FlaskClient, Parts]) -> Caller:
    """Bob, with every scope of another tenant."""
    return with_key(web[0], web[1].core, tenant_id="bob")


@pytest.fixture
def charlie(web: tuple[FlaskClient, Parts]) -> Caller:
    """Charlie, of Alice's tenant, whose key has a scope that no view here asks for: he may see nothing."""
    return with_key(web[0], web[1].core, tenant_id="alice", scopes=("webhooks",))


@pytest.fixture
def nobody(web: tuple[FlaskClient, Parts]) -> Caller:
    """Somebody without a key."""
    return Caller(web[0], "", {})


@pytest.fixture(scope="session")
def live(
    migrated_database: Callable[[], str], redis_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    """A server in a process of its own, for what only shows there: streams, long polls, greenlets."""
    folder, port = tmp_path_factory.mktemp("live"), free_port()
    settings = make_settings(
        database_url=migrated_database(),
        redis_url=make_redis_url(redis_port, database=0),
        key_file=folder / "key",
    )
    core = make_core(settings)
    key = create_api_key(core.transaction, actor="test", tenant_id="alice", scopes=SCOPES).key
    bot = {"TELEGRAM_BOT_TOKEN": BOT_TOKEN, "MINIAPP_TENANT_ID": "alice"}
    program = server_program(settings, port=port, folder=folder, environment=bot)
    with running(program):
        yield Live(f"http://127.0.0.1:{port}", core, program.log, {"Authorization": f"Bearer {key}"})
    core.engine.dispose()
    core.redis.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One browser for the tests of a module."""
    with browsing(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture(scope="module")
def acme(live: Live) -> Iterator[Live]:
    """Alice's tenant, dressed."""
    with live.core.transaction() as db:
        tenant = db.get_one(Tenant, "alice")
        tenant.brand = {"name": "Acme CRM", "accent": "#0f766e", "logo": LOGO}
        tenant.redirect_urls = ["https://app.acme.example/connected"]
    yield live
    with live.core.transaction() as db:
        tenant = db.get_one(Tenant, "alice")
        tenant.brand, tenant.redirect_urls = {}, []


@pytest.fixture(scope="session")
def axe(pytestconfig: pytest.Config) -> str:
    """The script of axe-core."""
    assert pytestconfig.cache is not None
    try:
        return install_axe(pytestconfig.cache.mkdir("axe-core"))
    except NotAtHand as exc:
        pytest.skip(str(exc))
