"""The sandbox as a whole: puts the parts together, opens the ports, tells where it listens, and ends."""

import asyncio
import json
import os
import resource
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox import tl
from sandbox.control.api import ControlApi
from sandbox.mtproto.arithmetic import ServerKey
from sandbox.mtproto.auth_keys import AuthKey, KeyRing
from sandbox.mtproto.connection import Connection, DataCentre
from sandbox.mtproto.network import Network, NetworkMode, is_loopback
from sandbox.mtproto.session import MessageIds
from sandbox.state_file import StateFile
from sandbox.telegram import views
from sandbox.telegram.cloud import Cloud
from sandbox.telegram.dispatcher import Dispatcher
from sandbox.telegram.faults import Faults
from sandbox.telegram.journal import NoJournal
from sandbox.telegram.login_tokens import LoginTokens
from sandbox.telegram.methods import Services
from sandbox.telegram.model import Account, Device
from sandbox.telegram.phone_codes import PhoneCodes
from sandbox.telegram.rules import Rules
from sandbox.telegram.tickets import Tickets
from sandbox.telegram.violations import Violations

_BACKLOG = 4096
"""As many clients may knock at once; a smaller one makes a burst of logins look like a slow network."""


class SetUpError(Exception):
    """Raised when the sandbox cannot start; the message is for a person."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to start; port 0 means a free one."""

    public_key_file: Path
    host: str = "127.0.0.1"
    control_port: int = 0
    dc_ports: tuple[int, ...] = (0, 0, 0)
    state_file: Path | None = None
    ready_file: Path | None = None
    salt_seconds: int = 1800
    rules: Rules = field(default_factory=Rules)


class Sandbox:
    """A running sandbox."""

    def __init__(self, options: Options) -> None:
        """Put the parts together; nothing listens yet.

        Raises:
            SetUpError: the host can be reached from other machines.
        """
        if not is_loopback(options.host):
            raise SetUpError(f"--host {options.host}: the sandbox listens on loopback addresses only")
        self.options = options
        self.state = StateFile(options.state_file) if options.state_file else None
        self.keys = KeyRing(salt_seconds=options.salt_seconds)
        self.network = Network()
        self.faults = Faults()
        self.violations = Violations(takeover_seconds=options.rules.takeover_seconds)
        self.handshakes = 0
        self.cloud = Cloud(
            keys=self.keys,
            dc_ids=tuple(range(1, len(options.dc_ports) + 1)),
            rules=options.rules,
            journal=self.state or NoJournal(),
        )
        if self.state:
            self.state.restore(self.cloud, self.keys)
        self.login_tokens = LoginTokens(self.cloud, on_accepted=self._push_login_token)
        self.dispatcher = Dispatcher(
            Services(
                cloud=self.cloud,
                login_tokens=self.login_tokens,
                phone_codes=PhoneCodes(self.cloud),
                tickets=Tickets(self.cloud),
                dc_addresses=lambda: {dc_id: (options.host, port) for dc_id, port in self.ports.items()},
            ),
            faults=self.faults,
            violations=self.violations,
        )
        self.keys.on_add = self._note_new_key
        self.keys.on_remove = self._note_lost_key
        self.server_key = self._load_server_key()
        self.ports: dict[int, int] = {}
        self._servers: dict[int, asyncio.Server] = {}
        self._control = ControlApi(self)
        self._centres: dict[int, DataCentre] = {}

    async def start(self) -> dict[str, Any]:
        """Open all ports and write the files that others wait for; return what the ready file says."""
        options = self.options
        _allow_many_connections()
        message_ids = MessageIds()
        self._centres = {
            dc_id: DataCentre(dc_id, self.server_key, self.keys, self.network, self.dispatcher, message_ids)
            for dc_id in self.cloud.dc_ids
        }
        remembered = self._remembered_ports()
        for dc_id, asked in zip(self.cloud.dc_ids, options.dc_ports, strict=True):
            self.ports[dc_id] = await self._listen(dc_id, remembered.get(str(dc_id), asked), asked)
        asked = options.control_port
        control_port = await self._control.start(options.host, (remembered.get("control", asked), asked))
        if self.state:
            self.state.save_server(
                private_key=self.server_key.private_pem,
                asked=[options.control_port, *options.dc_ports],
                ports={"control": control_port, **{str(dc_id): port for dc_id, port in self.ports.items()}},
            )
        options.public_key_file.write_text(self.server_key.public_pem)
        ready = {
            "control": f"http://{_for_url(options.host)}:{control_port}",
            "dcs": {str(dc_id): port for dc_id, port in self.ports.items()},
            "public_key_file": str(options.public_key_file.absolute()),
            "pid": os.getpid(),
        }
        if options.ready_file:
            _write_whole(options.ready_file, json.dumps(ready))
        return ready

    async def run_until_signal(self) -> None:
        """Serve until SIGTERM or SIGINT, then end at once."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await stop.wait()
        await self.close()

    async def close(self) -> None:
        """Close every port and connection; repeat as you like."""
        self._close_ports()
        self.network.cut_all()
        await self._control.close()
        if self.state:
            self.state.close()

    async def change_network(self, mode: NetworkMode) -> None:
        """Change the network's weather; when this returns, it is so."""
        self.network.change(mode)
        if mode is NetworkMode.REFUSE:
            self._close_ports()
        elif not self._servers:
            for dc_id, port in self.ports.items():
                await self._listen(dc_id, port, port)

    def stats(self) -> dict[str, Any]:
        """Return the figures of GET /stats."""
        return {
            "connections": len(self.network.connections),
            "auth_keys": len(self.keys),
            "authorized_keys": sum(1 for _ in self.cloud.authorized_devices()),
            "calls": dict(sorted(self.dispatcher.calls.items())),
            "violations": dict(self.violations.counts),
            "handshakes": self.handshakes,
        }

    # -- the parts speak to each other

    def _note_new_key(self, auth_key: AuthKey) -> None:
        self.handshakes += 1
        if auth_key.expires_at is None:
            self.cloud.add_device(auth_key)

    def _note_lost_key(self, auth_key: AuthKey) -> None:
        self.cloud.remove_device(auth_key)
        self.violations.forget(auth_key)

    def _push_login_token(self, device: Device, account: Account) -> None:
        """Send updateLoginToken to the waiting key's sessions that want updates, unless a fault loses it."""
        if self.faults.take_update(user_id=account.user_id, auth_key_id=device.auth_key.key_id):
            return
        now = views.date(self.cloud.clock())
        update = bytes(tl.types.UpdateShort(update=tl.types.UpdateLoginToken(), date=now))
        for session in device.auth_key.all_sessions():
            if session.wants_updates:
                session.send(update, content_related=True, now=True)

    def _load_server_key(self) -> ServerKey:
        kept = self.state.server().get("private_key") if self.state else None
        return ServerKey.from_private_pem(kept) if kept else ServerKey.generate()

    # -- ports

    def _remembered_ports(self) -> dict[str, int]:
        """Return the ports of the last run, if the same were asked for then."""
        kept = self.state.server() if self.state else {}
        asked = [self.options.control_port, *self.options.dc_ports]
        ports: dict[str, int] = kept.get("ports", {}) if kept.get("asked") == asked else {}
        return ports

    async def _listen(self, dc_id: int, port: int, asked: int) -> int:
        """Open one data centre's port.

        A remembered one that is taken by now gives way to the one asked for.
        """
        loop = asyncio.get_running_loop()
        centre = self._centres[dc_id]
        try:
            server = await loop.create_server(
                lambda: Connection(centre), self.options.host, port, backlog=_BACKLOG, reuse_address=True
            )
        except OSError as exc:
            if port == asked:
                raise SetUpError(f"data centre {dc_id} cannot listen on port {port}: {exc.strerror}") from exc
            return await self._listen(dc_id, asked, asked)
        self._servers[dc_id] = server
        return int(server.sockets[0].getsockname()[1])

    def _close_ports(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers.clear()


def _allow_many_connections() -> None:
    """Raise this process's limit of open files as far as it may: the usual 1,024 are soon used up."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _for_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _write_whole(path: Path, text: str) -> None:
    """Write a file that others poll for: it appears with its whole content."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.replace(path)
