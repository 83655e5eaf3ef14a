"""Tickets of auth.exportAuthorization.

A logged-in device takes one to another data centre and is logged in there too.
"""

import secrets
from dataclasses import dataclass

from sandbox.telegram.cloud import Cloud
from sandbox.telegram.errors import RpcError
from sandbox.telegram.model import Account

_LIFE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class _Ticket:
    user_id: int
    dc_id: int
    expires_at: float


class Tickets:
    """All tickets that were issued and not redeemed."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._tickets: dict[bytes, _Ticket] = {}

    def issue(self, account: Account, dc_id: int) -> bytes:
        """Return a ticket for one login at that data centre within a minute."""
        now = self._cloud.clock()
        self._tickets = {secret: t for secret, t in self._tickets.items() if t.expires_at > now}
        secret = secrets.token_bytes(128)
        self._tickets[secret] = _Ticket(account.user_id, dc_id, now + _LIFE_SECONDS)
        return secret

    def redeem(self, user_id: int, secret: bytes, dc_id: int) -> Account:
        """Use a ticket up.

        Raises:
            RpcError: AUTH_BYTES_INVALID, USER_ID_INVALID, or the account is out of order.
        """
        ticket = self._tickets.get(secret)
        if ticket is None or ticket.dc_id != dc_id or ticket.expires_at <= self._cloud.clock():
            raise RpcError("AUTH_BYTES_INVALID")
        if ticket.user_id != user_id:
            raise RpcError("USER_ID_INVALID")
        del self._tickets[secret]
        account = self._cloud.accounts[user_id]
        if account.refusal:
            raise RpcError(account.refusal)
        return account
