"""One POST to a receiver that nobody vouches for: bounded in time, no redirect followed, nothing of its body read."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import Literal, NamedTuple

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from app.errors import Transient
from app.webhooks.targets import Target, TargetRefused, resolve

CONNECT_SECONDS = 3.0
READ_SECONDS = 5.0
TOTAL_SECONDS = 8.0

Outcome = Literal["delivered", "refused", "redirected", "gone", "timeout", "unreachable", "blocked", "error"]
"""What a try came to; the metric's label. ``refused``: the receiver said no. ``blocked``: we must not go there."""


class Answer(NamedTuple):
    """What a try came to; the status code if there was one."""

    outcome: Outcome
    status_code: int | None = None


def post(
    url: str,
    *,
    body: bytes,
    headers: Mapping[str, str],
    allow_private: bool,
    total_seconds: float = TOTAL_SECONDS,
) -> Answer:
    """POST once. The status line decides; the body is not read, so it cannot lie or last for ever. Raises nothing of the net's.

    Args:
        total_seconds: for the request and the answer's head together, however slowly they trickle, once the connection stands
            (``CONNECT_SECONDS``); a look-up of the name has the system resolver's own limit.
    """
    try:
        target = resolve(url, allow_private=allow_private)
    except TargetRefused:
        return Answer("blocked")
    except Transient:
        return Answer("unreachable")
    out_of_time = threading.Event()
    connection = _connection(target)
    try:
        connection.connect()
        assert connection.sock is not None
        with _cut_after(total_seconds, connection.sock, out_of_time):
            connection.sock.settimeout(READ_SECONDS)
            everything = {"Host": _host(target), **headers}
            connection.request("POST", target.path, body=body, headers=everything, preload_content=False)
            status = connection.getresponse().status
        # A head that was cut in the middle reads like a short one.
        return Answer("timeout") if out_of_time.is_set() else _judge(status)
    except (OSError, HTTPError, HTTPException, ValueError) as exc:
        late = out_of_time.is_set() or isinstance(exc, TimeoutError) or "timed out" in str(exc)
        return Answer("timeout" if late else "unreachable")
    finally:
        connection.close()


def _judge(status: int) -> Answer:
    if 200 <= status < 300:
        return Answer("delivered", status)
    if 300 <= status < 400:
        return Answer("redirected", status)
    return Answer("gone" if status == 410 else "refused", status)


def _connection(target: Target) -> HTTPConnection:
    if target.scheme == "http":
        return HTTPConnection(target.address, target.port, timeout=CONNECT_SECONDS)
    return HTTPSConnection(
        target.address,
        target.port,
        timeout=CONNECT_SECONDS,
        cert_reqs="CERT_REQUIRED",
        server_hostname=target.host,
        assert_hostname=target.host,
    )


def _host(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    usual = {"http": 80, "https": 443}[target.scheme]
    return host if target.port == usual else f"{host}:{target.port}"


@contextmanager
def _cut_after(seconds: float, sock: socket.socket, out_of_time: threading.Event) -> Iterator[None]:
    """A socket's own time limit begins anew with each byte: this one does not."""

    def cut() -> None:
        out_of_time.set()
        with suppress(OSError):  # closed by itself meanwhile
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
