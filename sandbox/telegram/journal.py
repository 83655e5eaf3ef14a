"""Whom Telegram's memory tells of every change that must survive a restart, and who forgets it all."""

from typing import Protocol

from sandbox.telegram.model import Account, Device


class Journal(Protocol):
    """Told of every account, device and authorization that changed."""

    def save_account(self, account: Account) -> None:
        """Keep an account as it is now."""

    def save_device(self, device: Device) -> None:
        """Keep a device, its auth key and its authorization as they are now."""

    def remove_device(self, key_id: int) -> None:
        """Forget a device whose auth key is gone."""


class NoJournal:
    """Keeps nothing: everything ends with the process."""

    def save_account(self, account: Account) -> None:
        """Do nothing."""

    def save_device(self, device: Device) -> None:
        """Do nothing."""

    def remove_device(self, key_id: int) -> None:
        """Do nothing."""
