"""Connections that are ready before anybody asks: given to one login each, made anew, aged out, and none when off."""

from __future__ import annotations

import asyncio

from app.telegram import warm
from app.telegram.connection import TELEGRAM_DC, TelegramConnection
from app.telegram.identity import identity_for
from app.telegram.warm import WarmConnections
from tests.logins.conftest import StageMaker
from tests.logins.stage import Stage
from tests.waiting import wait_until


def kept(stage: Stage) -> float | None:
    """How many the worker has, as its metric says."""
    return stage.workers[0].core.registry.get_sample_value("telethon_warm_connections")


def test_logins_begin_on_warm_connections(make_stage: StageMaker) -> None:
    """Each goes on with a key that was made before it came, no two with the same; what was taken is made anew."""
    stage = make_stage(warm_connections=3)
    wait_until(lambda: kept(stage) == 3)
    started = [stage.start().login.id for _ in range(2)]
    urls = {stage.wait_for_qr(login_id) for login_id in started}
    assert len(urls) == 2
    wait_until(lambda: kept(stage) == 3)
    assert stage.new("handshakes") == 5  # those kept now, and one for each of the two
    accounts = [stage.telegram.create_account() for _ in range(2)]
    for account, login_id in zip(accounts, started, strict=True):
        stage.telegram.scan(account["id"], stage.wait_for_qr(login_id))
        stage.wait_for(login_id, "authorized")
    assert stage.violations() == {}
    assert [len(stage.telegram.authorizations(account["id"])) for account in accounts] == [1, 1]


def test_one_that_was_cut_or_grew_old_is_replaced(make_stage: StageMaker) -> None:
    """A login never gets one that is known to be gone."""
    stage = make_stage(warm_connections=2)
    wait_until(lambda: kept(stage) == 2)
    stage.telegram.network("ok", cut_all=True)
    stage.wait_for_qr(stage.start().login.id)
    wait_until(lambda: kept(stage) == 2)
    parts = stage.workers[0]
    settings = parts.core.settings

    async def grow_old() -> int:
        made: list[TelegramConnection] = []

        def make() -> TelegramConnection:
            connection = TelegramConnection(
                identity=identity_for(settings, {}),
                data_centre=settings.data_centre or TELEGRAM_DC,
                auth_key=None,
                handshakes=parts.telegram.handshakes,
            )
            made.append(connection)
            return connection

        pool = WarmConnections(count=1, make=make, gauge=parts.core.metrics.warm_connections, life_seconds=0.2)
        keeping = asyncio.create_task(pool.keep())
        await asyncio.sleep(2.5)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        assert not any(connection.connected for connection in made)
        return len(made)

    assert warm.LIFE_SECONDS < 60
    assert parts.telegram.runtime.run(grow_old(), timeout_seconds=20) >= 2


def test_a_tenant_of_its_own_identity_gets_a_connection_of_its_own(make_stage: StageMaker) -> None:
    """A warm one has introduced itself as the installation; another device's name must not begin like that."""
    stage = make_stage(warm_connections=1)
    wait_until(lambda: kept(stage) == 1)
    settings = stage.settings
    other = identity_for(settings, {"device_model": "Acme"})
    own = identity_for(settings, {})
    dc = settings.data_centre or TELEGRAM_DC
    parts = stage.workers[0]

    async def take() -> tuple[bool, bool]:
        pool = parts.logins.warm
        refused = pool.take(other, dc) is None
        connection = pool.take(own, dc)
        if connection is not None:
            await connection.close()
        return refused, connection is not None

    assert parts.telegram.runtime.run(take()) == (True, True)


def test_none_are_made_when_off(stage: Stage) -> None:
    """The gauge says 0 from the start, and Telegram sees nobody before the first login."""
    assert kept(stage) == 0
    assert stage.new("handshakes") == 0
    stage.wait_for_qr(stage.start().login.id)
    assert kept(stage) == 0
    assert stage.new("handshakes") == 1
