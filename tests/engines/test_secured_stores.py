"""A whole stack on Redis with TLS for everything, and on PostgreSQL through PgBouncer in transaction mode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError

from app.doctor.redis import look_at_redis
from app.redis_state import make_redis
from devstack.files import kept_secret
from devstack.ports import HOST, free_port
from devstack.postgres import postgres_password
from devstack.programs import running
from devstack.running import RunningStack, running_stack
from tests.engines.certificates import Authority
from tests.engines.conftest import UNLIMITED
from tests.engines.programs import PASSWORD, pgbouncer, redis_with_tls
from tests.stack.city import City
from tests.waiting import wait_until

pytestmark = pytest.mark.engines
MANY = 40


@pytest.fixture(scope="module")
def redis_url(engine_folder: Path) -> Iterator[str]:
    """Redis that speaks TLS alone."""
    authority, port = Authority(engine_folder / "certificates"), free_port()
    certificate, key = authority.sign("redis")
    program = redis_with_tls(
        engine_folder / "redis-tls", port=port, certificate=certificate, key=key, authority=authority.certificate
    )
    with running(program):
        yield f"rediss://{HOST}:{port}/0?ssl_ca_certs={authority.certificate}"


@pytest.fixture(scope="module")
def stack(engine_folder: Path, redis_url: str) -> Iterator[RunningStack]:
    """The stack; PgBouncer waits for its PostgreSQL."""
    folder, port, pooled_port = engine_folder / "stack", free_port(), free_port()
    folder.mkdir()
    service_password = kept_secret(folder / "service.password", make=lambda: PASSWORD)
    pooler = pgbouncer(
        engine_folder / "pgbouncer",
        port=pooled_port,
        server={"host": HOST, "port": str(port)},
        users={"latchkey_service": service_password, "latchkey": postgres_password(folder)},
    )
    settings = {
        **UNLIMITED,
        "STACK_REDIS_URL": redis_url,
        "POSTGRES_PORT": str(port),
        "POSTGRES_PROXY_PORT": str(pooled_port),
    }
    without = ("exporter", "s3", "flower")
    with (
        running(pooler),
        running_stack(folder, login_workers=1, settings=settings, without=without) as found,
    ):
        yield found


def test_many_people_log_in_through_four_connections(city: City) -> None:
    """At once; PgBouncer has four connections to PostgreSQL for all processes together."""
    login_ids = city.start_many(MANY)
    wait_until(lambda: city.statuses(login_ids) == {"waiting_for_scan": MANY}, within_seconds=60, every_seconds=0.2)
    for login_id in login_ids:
        account = city.telegram.create_account()
        city.telegram.scan(account["id"], city.wait_for_qr(login_id))
    wait_until(lambda: city.statuses(login_ids) == {"authorized": MANY}, within_seconds=60, every_seconds=0.2)
    assert city.violations() == {}


def test_no_process_goes_past_them(city: City, stack: RunningStack) -> None:
    """All of the service's connections to PostgreSQL are PgBouncer's, and Redis has no port without TLS."""
    with city.engine.connect() as connection:
        held = connection.exec_driver_sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'latchkey_service'")
        assert 1 <= held.scalar_one() <= 4
    assert "rediss://" in (stack.folder / "env").read_text()


def test_the_certificate_of_redis_is_checked(redis_url: str, tmp_path: Path) -> None:
    """Who has another authority's is not talked to, and the doctor says so."""
    assert {each.state for each in look_at_redis("redis", redis_url)} == {"ok"}
    strange = f"{redis_url.partition('=')[0]}={Authority(tmp_path, name='a stranger').certificate}"
    with pytest.raises(RedisConnectionError, match="certificate verify failed"):
        make_redis(strange).ping()
    [finding] = look_at_redis("redis", strange)
    assert (finding.state, "certificate" in finding.found) == ("failed", True)
    with pytest.raises(redis.RedisError):
        redis.Redis.from_url(redis_url.replace("rediss://", "redis://").partition("?")[0], socket_timeout=2).ping()
