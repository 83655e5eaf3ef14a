"""With a state file a restart changes nothing for clients; without one everything ends with the process."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from telethon import errors
from telethon.tl.functions.auth import LogOutRequest

from sandbox.process import RunningSandbox
from tests.sandbox.clients import export, own_id
from tests.sandbox.conftest import OwnClients, SandboxMaker


@pytest.fixture
def state_file(tmp_path: Path) -> Path:
    """Where the state goes."""
    return tmp_path / "sandbox.state"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_logins_survive_a_restart(own_clients: OwnClients, state_file: Path, number: signal.Signals) -> None:
    """Keys, accounts with their passwords, logins, scans that wait, ports: also after a kill."""
    clients = own_clients(state_file=state_file)
    driver = clients.sandbox.driver
    alice, charlie = driver.create_account(code_deliveries=["word"]), driver.create_account(password="pw", hint="h")
    one = await clients.log_in(alice)
    scanned, pending = await clients.connect(), await clients.connect()
    await clients.scan(alice, await export(scanned))
    await clients.scan(charlie, await export(pending))
    with pytest.raises(errors.SessionPasswordNeededError):
        await export(pending)
    sessions = [client.session.save() for client in (one, scanned, pending)]
    accounts, logins = driver.accounts(), driver.authorizations(alice["id"])
    public_key = clients.sandbox.public_key_file.read_bytes()
    await clients.close_all()
    clients.sandbox.process.send_signal(number)
    clients.sandbox.process.wait(10)

    again = own_clients(state_file=state_file)
    assert again.sandbox.public_key_file.read_bytes() == public_key
    assert again.sandbox.dcs == clients.sandbox.dcs
    assert again.sandbox.control == clients.sandbox.control
    assert again.sandbox.driver.accounts() == accounts
    assert again.sandbox.driver.authorizations(alice["id"]) == logins
    one, scanned, pending = [await again.connect(session) for session in sessions]
    assert await own_id(one) == alice["id"]
    await export(scanned)
    assert await own_id(scanned) == alice["id"]
    assert (await pending.sign_in(password="pw")).id == charlie["id"]
    await one(LogOutRequest())


async def test_an_ended_login_stays_ended(own_clients: OwnClients, state_file: Path) -> None:
    """With its reason."""
    clients = own_clients(state_file=state_file)
    alice = clients.sandbox.driver.create_account()
    client = await clients.log_in(alice)
    session = client.session.save()
    clients.sandbox.driver.terminate(alice["id"])
    await clients.close_all()
    clients.sandbox.stop()
    with pytest.raises(errors.SessionRevokedError):
        await own_id(await own_clients(state_file=state_file).connect(session))


def test_a_torn_line_is_left_out(make_sandbox: SandboxMaker, state_file: Path) -> None:
    """What a crash cut short does not spoil the rest."""
    first = make_sandbox(state_file=state_file)
    alice = first.driver.create_account()
    first.stop()
    with state_file.open("a") as file:
        file.write('{"kind":"account","id":5000000')
    assert [a["id"] for a in make_sandbox(state_file=state_file).driver.accounts()] == [alice["id"]]
    assert state_file.stat().st_mode & 0o777 == 0o600


def test_other_ports_may_be_asked_for(make_sandbox: SandboxMaker, state_file: Path) -> None:
    """The remembered ones serve only whoever asks for the same."""
    first = make_sandbox(state_file=state_file)
    first.stop()
    assert list(make_sandbox(state_file=state_file, dc_ports="0,0").dcs) == [1, 2]


def test_a_signal_ends_it_at_once(make_sandbox: SandboxMaker) -> None:
    """Nothing is waited for, and the exit code is 0."""
    running: RunningSandbox = make_sandbox()
    began = time.monotonic()
    running.process.terminate()
    assert running.process.wait(10) == 0
    assert time.monotonic() - began < 2
