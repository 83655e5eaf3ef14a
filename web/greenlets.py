"""Making a web process cooperative: one greenlet per request, so that thousands of open streams cost little.

Called first thing by the server's configuration, and never by importing ``web``: tests, the command line and anything
else that imports the package must keep ordinary threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gevent import monkey

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  # psycopg2 spells its classes small

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 10.0  # a little more than the web's own statement_timeout


def patch() -> None:
    """Make sockets, locks, threads and psycopg2's queries yield to other greenlets. May be repeated."""
    monkey.patch_all()
    from psycopg2.extensions import set_wait_callback

    set_wait_callback(_wait)


def _wait(connection: Connection, timeout: float | None = None) -> None:
    """Let other greenlets run until libpq has what it waits for.

    Bounded, because libpq itself ignores ``connect_timeout`` when it is driven like this.
    """
    from gevent.socket import wait_read, wait_write
    from psycopg2 import OperationalError
    from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE, STATUS_SETUP

    limit = timeout or (_CONNECT_SECONDS if connection.status == STATUS_SETUP else _ANSWER_SECONDS)
    late = OperationalError(f"PostgreSQL did not answer within {limit:.0f} s")
    while (state := connection.poll()) != POLL_OK:
        if state == POLL_READ:
            wait_read(connection.fileno(), timeout=limit, timeout_exc=late)
        elif state == POLL_WRITE:
            wait_write(connection.fileno(), timeout=limit, timeout_exc=late)
        else:
            raise OperationalError(f"psycopg2 is in an unknown state: {state}")
