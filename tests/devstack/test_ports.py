"""Ports: free, each given out once, the same as last time, or fixed by a setting."""

from __future__ import annotations

import socket

import pytest

from devstack.errors import SetupError
from devstack.ports import HOST, PortBook, free_port


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1"])
def test_senseless_port_is_refused(text: str) -> None:
    """A PORT that is no port names itself."""
    with pytest.raises(SetupError, match=f"PORT={text} is no port"):
        PortBook({}).fixed_port("web", setting="PORT", text=text)


def test_taken_port_is_refused() -> None:
    """A PORT that somebody listens on is said before anything starts."""
    with socket.create_server((HOST, free_port())) as server:
        taken = str(server.getsockname()[1])
        with pytest.raises(SetupError, match=f"Port {taken} is taken: choose another PORT"):
            PortBook({}).fixed_port("web", setting="PORT", text=taken)


def test_port_is_given_out_once() -> None:
    """Ports that are chosen before anybody listens on them do not collide."""
    book = PortBook({})
    assert len({book.port(str(number)) for number in range(50)}) == 50


def test_port_is_the_same_as_last_time() -> None:
    """A stack that comes back is found where it was: stored sessions name their data centre's port."""
    first = PortBook({})
    ports = [first.port("web"), first.port("dc-2")]
    again = PortBook(first.given_out)
    assert [again.port("web"), again.port("dc-2")] == ports


def test_remembered_port_that_was_taken_meanwhile_is_replaced() -> None:
    """Another program on last time's port costs the address and not the start."""
    with socket.create_server((HOST, free_port())) as server:
        taken = server.getsockname()[1]
        assert PortBook({"web": taken}).port("web") != taken
