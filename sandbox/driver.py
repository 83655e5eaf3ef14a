"""A small client of the control API, for tests, the stack and the command line.

Knows nothing of the server's inside.
"""

from typing import Any

import requests

_TIMEOUT_SECONDS = 30


class SandboxRefusedError(Exception):
    """Raised when the sandbox answers with an error; `error` is its name, e.g. AUTH_TOKEN_EXPIRED."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(f"{status}: {error}")
        self.status = status
        self.error = error


class SandboxDriver:
    """Drives a running sandbox. Every method raises SandboxRefusedError when the sandbox says no."""

    def __init__(self, control_url: str) -> None:
        """Remember where the control API is; nothing is sent yet."""
        self.control_url = control_url.rstrip("/")

    def create_account(self, **fields: Any) -> dict[str, Any]:
        """Add an account: phone, first_name, username, password, hint, dc_id, accept, code_deliveries, all optional."""
        return self._call("POST", "/accounts", fields)

    def accounts(self) -> list[dict[str, Any]]:
        """Return all accounts."""
        return self._list("/accounts")

    def login_tokens(self) -> list[dict[str, Any]]:
        """Return what is waiting to be scanned: the login tokens that are live, the oldest first."""
        return self._list("/login-tokens")

    def scan(self, user_id: int, url: str) -> dict[str, Any]:
        """Let an account's phone scan a login URL."""
        return self._call("POST", f"/accounts/{user_id}/scan", {"url": url})

    def authorizations(self, user_id: int) -> list[dict[str, Any]]:
        """Return what is logged in to an account beside its phone."""
        return self._list(f"/accounts/{user_id}/authorizations")

    def terminate(self, user_id: int, authorization_hash: int | str | None = None) -> dict[str, Any]:
        """End one authorization from the phone, or all of them."""
        one = "" if authorization_hash is None else f"/{authorization_hash}"
        return self._call("DELETE", f"/accounts/{user_id}/authorizations{one}")

    def messages(self, user_id: int) -> list[dict[str, Any]]:
        """Return the login codes that an account's phone has received, the oldest first."""
        return self._list(f"/accounts/{user_id}/messages")

    def set_password(self, user_id: int, password: str, hint: str = "") -> dict[str, Any]:
        """Set or change an account's 2FA password."""
        return self._call("PUT", f"/accounts/{user_id}/password", {"password": password, "hint": hint})

    def remove_password(self, user_id: int) -> dict[str, Any]:
        """Remove an account's 2FA password; also when it has none."""
        return self._call("DELETE", f"/accounts/{user_id}/password")

    def latest_messages(self) -> list[dict[str, Any]]:
        """Return the login codes that reached any phone last, 20 at most, the oldest first."""
        return self._list("/messages")

    def set_state(self, user_id: int, state: str) -> dict[str, Any]:
        """Make an account `active`, `deactivated` or `banned`."""
        return self._call("POST", f"/accounts/{user_id}/state", {"state": state})

    def add_fault(self, method: str, **effects: Any) -> dict[str, Any]:
        """Let the next calls of a method go wrong: error, delay_ms, drop_connection, silent, times, …."""
        return self._call("POST", "/faults", {"method": method, **effects})

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults that still wait for their calls."""
        return self._list("/faults")

    def remove_fault(self, fault_id: int) -> dict[str, Any]:
        """Forget one fault; a flood wait that it has started goes on."""
        return self._call("DELETE", f"/faults/{fault_id}")

    def clear_faults(self) -> dict[str, Any]:
        """Forget all faults and the flood waits that they started."""
        return self._call("DELETE", "/faults")

    def network(self, mode: str | None = None, **weather: Any) -> dict[str, Any]:
        """Change the network: mode, latency_ms, cut_all."""
        return self._call("POST", "/network", {**({"mode": mode} if mode else {}), **weather})

    def stats(self) -> dict[str, Any]:
        """Return the figures."""
        return self._call("GET", "/stats")

    def _list(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", path)["data"]
        return found

    def _call(self, verb: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        response = requests.request(verb, self.control_url + path, json=body, timeout=_TIMEOUT_SECONDS)
        answer: dict[str, Any] = response.json()
        if not response.ok:
            raise SandboxRefusedError(response.status_code, str(answer.get("error")))
        return answer
