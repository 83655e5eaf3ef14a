"""Faults on demand: which call is answered wrongly, late or not at all, and which update is lost."""

import itertools
from dataclasses import dataclass
from typing import Final

UPDATE_SOURCES: Final = frozenset(
    {"*", "updateLoginToken", "auth.acceptLoginToken", "auth.exportLoginToken", "auth.importLoginToken"}
)
"""The methods that a fault may name to lose the updateLoginToken that comes of them."""


@dataclass(slots=True)
class Fault:
    """What happens to the next `times` calls of a method; None in a filter means anybody."""

    method: str
    error: str | None = None
    delay_seconds: float = 0.0
    drop_connection: bool = False
    silent: bool = False
    lose_update: bool = False
    times: int = 1
    user_id: int | None = None
    auth_key_id: int | None = None
    fault_id: int = 0
    """What it is removed by; given when it is added, and never again to another one."""

    def concerns(self, user_id: int | None, auth_key_id: int | None) -> bool:
        """Tell whether the filters let this caller through."""
        return self.user_id in (None, user_id) and self.auth_key_id in (None, auth_key_id)


class Faults:
    """The faults that wait for their calls, the oldest first; a call meets one at most."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._ids = itertools.count(1)

    def add(self, fault: Fault) -> None:
        """Let a fault wait for its calls."""
        fault.fault_id = next(self._ids)
        self._faults.append(fault)

    def remove(self, fault_id: int) -> bool:
        """Forget one fault; False when none that waits has this id."""
        found = next((fault for fault in self._faults if fault.fault_id == fault_id), None)
        if found is not None:
            self._faults.remove(found)
        return found is not None

    def waiting(self) -> list[Fault]:
        """Return the faults with the calls that each still waits for."""
        return list(self._faults)

    def clear(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def take(self, method: str, *, user_id: int | None, auth_key_id: int | None, by_name: bool = False) -> Fault | None:
        """Return the fault that this call meets, and count it.

        Args:
            method: the call's name in the schema.
            user_id: who calls; None before a login.
            auth_key_id: with which key, unsigned; None for a phone, which has none.
            by_name: leave faults for `*` alone.
        """
        names = {method} if by_name else {method, "*"}
        for fault in self._faults:
            if fault.method in names and not fault.lose_update and fault.concerns(user_id, auth_key_id):
                return self._count(fault)
        return None

    def take_update(self, *, user_id: int | None, auth_key_id: int | None) -> bool:
        """Tell whether the updateLoginToken for this key is lost, and count it."""
        for fault in self._faults:
            if fault.lose_update and fault.concerns(user_id, auth_key_id):
                self._count(fault)
                return True
        return False

    def _count(self, fault: Fault) -> Fault:
        fault.times -= 1
        if fault.times <= 0:
            self._faults.remove(fault)
        return fault
