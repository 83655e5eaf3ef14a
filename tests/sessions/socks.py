"""A SOCKS5 proxy that wants a user and a password. Source: https://www.rfc-editor.org/rfc/rfc1928, rfc1929"""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import struct
import threading
from contextlib import AbstractContextManager, suppress

USER, PASSWORD = "alice", "p w@d:%/?#["
"""With every sign that a URL must write as %XX."""


class SocksProxy(AbstractContextManager["SocksProxy"]):
    """Listens on loopback, and remembers the ports that it was asked to connect to."""

    def __init__(self) -> None:
        self.connected_to: list[int] = []
        self._server = _Server(("127.0.0.1", 0), _Conversation)
        self._server.proxy = self
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    proxy: SocksProxy


class _Conversation(socketserver.BaseRequestHandler):
    request: socket.socket

    def handle(self) -> None:
        """Greet, check the password, connect, and pass on until either side ends."""
        server = self.server
        assert isinstance(server, _Server)
        with suppress(OSError, EOFError):
            self._read(self._read(2)[1])
            self.request.sendall(b"\x05\x02")
            if not self._password_is_right():
                self.request.sendall(b"\x01\x01")
                return
            self.request.sendall(b"\x01\x00")
            host, port = self._destination()
            server.proxy.connected_to.append(port)
            with socket.create_connection((host, port)) as there:
                self.request.sendall(b"\x05\x00\x00\x01" + bytes(6))
                back = threading.Thread(target=_pass_on, args=(there, self.request), daemon=True)
                back.start()
                _pass_on(self.request, there)
                back.join()

    def _password_is_right(self) -> bool:
        user = self._read(self._read(2)[1])
        password = self._read(self._read(1)[0])
        return (user.decode(), password.decode()) == (USER, PASSWORD)

    def _destination(self) -> tuple[str, int]:
        kind = self._read(4)[3]
        host = (
            self._read(self._read(1)[0]).decode()
            if kind == 3
            else str(ipaddress.ip_address(self._read(4 if kind == 1 else 16)))
        )
        return host, struct.unpack(">H", self._read(2))[0]

    def _read(self, length: int) -> bytes:
        chunk = self.request.recv(length, socket.MSG_WAITALL)
        if len(chunk) < length:
            raise EOFError
        return chunk


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
