"""Telegram's memory, shared by its data centres: who exists, who is logged in, how that begins and ends.

Knows nothing of how calls arrive. Every change that must survive a restart is told to `journal`.
"""

import heapq
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sandbox.mtproto.auth_keys import AuthKey, KeyRing
from sandbox.telegram.errors import RpcError
from sandbox.telegram.journal import Journal, NoJournal
from sandbox.telegram.model import (
    USUAL_CODE_WAYS,
    AcceptMode,
    Account,
    AccountState,
    Authorization,
    CodeWay,
    Device,
    PhoneMessage,
)
from sandbox.telegram.rules import Rules
from sandbox.telegram.srp import Password

_FIRST_USER_ID = 5_000_000_001  # above 2^32, as new users are: a client that cuts ids short shows at once


@dataclass(slots=True)
class Cloud:
    """Accounts, devices and authorizations, and the rules that bind them."""

    keys: KeyRing
    dc_ids: tuple[int, ...]
    rules: Rules = field(default_factory=Rules)
    journal: Journal = field(default_factory=NoJournal)
    clock: Callable[[], float] = time.time
    accounts: dict[int, Account] = field(default_factory=dict)
    devices: dict[int, Device] = field(default_factory=dict)

    # -- accounts

    def create_account(
        self,
        *,
        phone: str | None = None,
        first_name: str = "Alice",
        username: str | None = None,
        password: Password | None = None,
        dc_id: int | None = None,
        accept: AcceptMode = AcceptMode.NEXT_EXPORT,
        code_ways: tuple[CodeWay, ...] = USUAL_CODE_WAYS,
    ) -> Account:
        """Add an account with a phone of its own.

        Raises:
            ValueError: the phone number is taken or no number, or there is no such data centre.
        """
        dc_id = dc_id or (2 if 2 in self.dc_ids else self.dc_ids[0])
        if dc_id not in self.dc_ids:
            raise ValueError(f"dc_id must be one of {', '.join(map(str, self.dc_ids))}")
        phone = normalize_phone(phone) if phone else self._free_phone(dc_id)
        if not phone:
            raise ValueError("phone must hold 5 to 15 digits")
        if self.find_by_phone(phone):
            raise ValueError(f"phone {phone} belongs to another account")
        user_id = max(self.accounts, default=_FIRST_USER_ID - 1) + 1
        account = Account(user_id, phone, first_name, username, dc_id, accept, password, code_ways)
        self.accounts[user_id] = account
        self.journal.save_account(account)
        return account

    def _free_phone(self, dc_id: int) -> str:
        """Return the next free number of Telegram's form for tests: 99966, data centre, 4 digits."""
        taken = {account.phone for account in self.accounts.values()}
        numbers = (f"99966{dc_id}{number:04d}" for number in range(10_000))
        phone = next((number for number in numbers if number not in taken), None)
        return phone or f"999{secrets.randbelow(10**12):012d}"

    def find_by_phone(self, phone: str) -> Account | None:
        """Return the account with this normalized phone number."""
        return next((account for account in self.accounts.values() if account.phone == phone), None)

    def set_state(self, account: Account, state: AccountState) -> None:
        """Ban, deactivate or restore an account; its authorizations stay, and say so when used."""
        account.state = state
        self.journal.save_account(account)

    def set_password(self, account: Account, password: Password | None) -> None:
        """Set, change or remove (None) an account's 2FA password; repeat as you like.

        Whoever is logged in stays so. Without a password, the logins that wait for one are complete: nothing is left to ask.
        """
        account.password = password
        self.journal.save_account(account)
        for authorization in account.authorizations.values() if password is None else ():
            if authorization.password_pending:
                self.confirm_password(self.devices[authorization.key_id])

    def latest_messages(self, count: int) -> list[tuple[Account, PhoneMessage]]:
        """Return the login codes that reached any phone last, each with whose phone it is, the oldest first."""
        messages = ((account, message) for account in self.accounts.values() for message in account.messages)
        return heapq.nlargest(count, messages, key=lambda pair: pair[1].sent_at)[::-1]

    # -- devices and authorizations

    def add_device(self, auth_key: AuthKey) -> Device:
        """Note a new auth key."""
        device = self.devices[auth_key.key_id] = Device(auth_key)
        self.journal.save_device(device)
        return device

    def remove_device(self, auth_key: AuthKey) -> None:
        """Forget an auth key that was destroyed, and its authorization."""
        device = self.devices.pop(auth_key.key_id, None)
        if device is not None:
            self.end_authorization(device, death="AUTH_KEY_UNREGISTERED")
            self.journal.remove_device(auth_key.key_id)

    def introduce(
        self,
        device: Device,
        *,
        layer: int,
        api_id: int,
        device_model: str,
        system_version: str,
        app_version: str,
    ) -> None:
        """Note what a device says about itself; it says so on every connection, and mostly the same."""
        before = (device.layer, device.api_id, device.device_model, device.system_version, device.app_version)
        if before != (layer, api_id, device_model, system_version, app_version):
            device.layer, device.api_id = layer, api_id
            device.device_model, device.system_version = device_model, system_version
            device.app_version = app_version
            self.journal.save_device(device)

    def kill_duplicated(self, device: Device) -> None:
        """End a key that was used on two connections at once; no login brings it back."""
        device.is_duplicated = True
        self.end_authorization(device, death="AUTH_KEY_DUPLICATED")

    def authorize(self, device: Device, account: Account, *, password_known: bool = False) -> Authorization:
        """Log a device in; with a 2FA password it stays pending until that is checked.

        Args:
            device: its former authorization, if any, ends.
            account: who logs in.
            password_known: whether the password was proved already.
        """
        self.end_authorization(device, death=None)
        now = self.clock()
        authorization = Authorization(
            hash=secrets.randbits(62) | 1,
            user_id=account.user_id,
            key_id=device.auth_key.key_id,
            api_id=device.api_id,
            device_model=device.device_model,
            system_version=device.system_version,
            app_version=device.app_version,
            created_at=now,
            active_at=now,
            password_pending=account.password is not None and not password_known,
        )
        account.authorizations[authorization.hash] = authorization
        device.authorization = authorization
        device.accepted_by = device.login_token = None
        self.journal.save_device(device)
        return authorization

    def confirm_password(self, device: Device) -> None:
        """Note that the pending password was proved: the device is logged in now."""
        assert device.authorization is not None
        device.authorization.password_pending = False
        self.journal.save_device(device)

    def end_authorization(self, device: Device, *, death: str | None) -> None:
        """Log a device out, or drop a scan that it has not claimed yet.

        Args:
            device: may be logged out already.
            death: the error that its later calls are answered with; None when a new login follows.
        """
        authorization, device.authorization = device.authorization, None
        device.accepted_by = device.login_token = None
        device.death = death
        if authorization is not None:
            self.accounts[authorization.user_id].authorizations.pop(authorization.hash, None)
        if device.auth_key.key_id in self.devices:
            self.journal.save_device(device)

    def terminate(self, account: Account, authorization_hash: int, *, death: str = "AUTH_KEY_UNREGISTERED") -> bool:
        """End one authorization, as the account's phone does; False when there is none with this hash."""
        authorization = account.authorizations.get(authorization_hash)
        if authorization is None:
            return False
        self.end_authorization(self.devices[authorization.key_id], death=death)
        return True

    def terminate_all(self, account: Account, *, besides: Authorization | None = None) -> int:
        """Do what "terminate all other sessions" does; return how many ended."""
        doomed = [a.hash for a in account.authorizations.values() if a is not besides]
        for authorization_hash in doomed:
            self.terminate(account, authorization_hash, death="SESSION_REVOKED")
        return len(doomed)

    def pending_or_active(self, device: Device) -> Account:
        """Return the account of a device that is logged in, or would be but for its password.

        Raises:
            RpcError: it is not, or the account is out of order.
        """
        if device.authorization is None:
            raise RpcError(device.death or "AUTH_KEY_UNREGISTERED")
        account = self.accounts[device.authorization.user_id]
        if account.refusal:
            raise RpcError(account.refusal)
        return account

    def account_of(self, device: Device) -> Account:
        """Return the account that a device is logged in to.

        Raises:
            RpcError: it is not logged in, its password is pending, or the account is out of order.
        """
        account = self.pending_or_active(device)
        assert device.authorization is not None
        if device.authorization.password_pending:
            raise RpcError("SESSION_PASSWORD_NEEDED")
        device.authorization.active_at = self.clock()
        return account

    def authorized_devices(self) -> Iterator[Device]:
        """Yield the devices that are logged in, password and all."""
        for device in self.devices.values():
            if device.authorization is not None and not device.authorization.password_pending:
                yield device


def normalize_phone(phone: str) -> str:
    """Return a phone number's digits; empty when it is no phone number."""
    digits = "".join(filter(str.isdigit, phone))
    is_number = 5 <= len(digits) <= 15 and not set(phone) - set("0123456789 +-()")
    return digits if is_number else ""
