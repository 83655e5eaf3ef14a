"""A person who comes to log in, and the application that sent them: they play their part, whatever strikes."""

from __future__ import annotations

from random import Random
from typing import Any

from chaos.afterwards import afterwards
from chaos.cast import Part
from chaos.importer import bring_session
from chaos.record import LoginRecord, SessionRecord
from chaos.scene import Scene
from chaos.visit import Visit, password_of


async def play(scene: Scene, name: str, part: Part, random: Random) -> None:
    """Play a part to its end.

    Args:
        name: the person's, as the story calls them.
    """
    scene.tell(name, f"comes: {part}")
    account = await _make_account(scene, name, part)
    if part.imports:
        session = await bring_session(scene, name, account)
    else:
        session = await _log_in(scene, name, part, account)
        if session is not None and part.again:
            session = await _log_in(scene, name, part.once_more(), account)
    if session is not None:
        await afterwards(scene, session, part.then, random)


async def _make_account(scene: Scene, name: str, part: Part) -> dict[str, Any]:
    traits: dict[str, Any] = {"dc_id": part.dc_id, "accept": part.accept, "first_name": name}
    if part.has_password:
        traits |= {"password": password_of(name), "hint": "the usual"}
    account = await scene.field.ask(scene.field.telegram.create_account, **traits)
    scene.records.accounts.add(account["id"])
    return account


async def _log_in(scene: Scene, name: str, part: Part, account: dict[str, Any]) -> SessionRecord | None:
    expected: int | None = account["id"] if part.expects == "self" else None
    if part.expects == "other":
        expected = (await _make_account(scene, name, Part(name="who is expected")))["id"]
    record = LoginRecord(person=name, part=part, user_id=account["id"], expected_id=expected)
    scene.records.logins.append(record)
    await Visit(scene, record, phone_number=account["phone"]).run()
    if not record.seen or record.seen[-1].status != "authorized" or record.session_id is None:
        return None
    return scene.records.session(record.session_id, person=name, user_id=record.user_id)
