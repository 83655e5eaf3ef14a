"""What leaves a connection: at once, late, or not while the network is silent; always in its order."""

import asyncio
from collections import deque

from sandbox.mtproto.network import Network, NetworkMode


class Outflow:
    """The bytes on their way to one client, through the network's weather."""

    __slots__ = ("_network", "_transport", "_waiting")

    def __init__(self, network: Network, transport: asyncio.Transport) -> None:
        self._network = network
        self._transport = transport
        self._waiting: deque[tuple[float, bytes]] | None = None  # made when needed: few connections ever do

    def write(self, data: bytes) -> None:
        """Send bytes, as late as the weather has it."""
        is_silent = self._network.mode is NetworkMode.SILENT
        if not (is_silent or self._waiting or self._network.latency_seconds):
            self._transport.write(data)
            return
        if self._waiting is None:
            self._waiting = deque()
        loop = asyncio.get_running_loop()
        due = loop.time() + self._network.latency_seconds
        if not self._waiting and not is_silent:
            loop.call_at(due, self._write_due)
        self._waiting.append((due, data))

    def release(self) -> None:
        """Send everything that waits."""
        waiting, self._waiting = self._waiting, None
        for _, data in waiting or ():
            self._transport.write(data)

    def _write_due(self) -> None:
        """Send what is due; bytes behind others wait for them, however short their own delay."""
        if self._network.mode is NetworkMode.SILENT or self._transport.is_closing():
            return
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0][0] <= loop.time():
            self._transport.write(self._waiting.popleft()[1])
        if self._waiting:
            loop.call_at(self._waiting[0][0], self._write_due)
