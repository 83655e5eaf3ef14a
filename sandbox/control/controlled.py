"""What the control API controls, as it sees it: the server knows the API, and the API not the server."""

from typing import Any, Protocol

from sandbox.mtproto.network import Network, NetworkMode
from sandbox.telegram.cloud import Cloud
from sandbox.telegram.faults import Faults
from sandbox.telegram.login_tokens import LoginTokens
from sandbox.telegram.violations import Violations


class Controlled(Protocol):
    """A running sandbox."""

    cloud: Cloud
    faults: Faults
    login_tokens: LoginTokens
    network: Network
    violations: Violations

    async def change_network(self, mode: NetworkMode) -> None:
        """Change how the network behaves."""

    def stats(self) -> dict[str, Any]:
        """Return the figures."""
