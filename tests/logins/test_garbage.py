"""What a login was made of is gone when it ends: nobody has to look for it among what thousands of others are made of."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from app.logins.link import Link
from app.logins.owned import OwnedLogin
from app.telegram.sending import DirectSender, DirectTcpFull
from tests.logins.stage import Stage
from tests.waiting import wait_until

_PARTS = (OwnedLogin, Link, DirectSender, DirectTcpFull)


def parts_of_logins() -> list[weakref.ref[Any]]:
    """Each part that there is; what a worker has set aside is set aside again, where no collection looks for rings."""
    gc.unfreeze()
    try:
        return [weakref.ref(each) for each in gc.get_objects() if isinstance(each, _PARTS)]
    finally:
        gc.freeze()


def test_an_ended_login_is_gone_without_a_collection(stage: Stage) -> None:
    """No part of it refers to itself in a ring."""
    account = stage.telegram.create_account()
    before = {id(part()) for part in parts_of_logins()}
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    mine = [part for part in parts_of_logins() if id(part()) not in before]
    assert {type(part()) for part in mine} == set(_PARTS)
    stage.telegram.scan(account["id"], url)
    stage.wait_for(started.login.id, "authorized")
    wait_until(lambda: [part for part in mine if part() is not None] == [], within_seconds=10)
