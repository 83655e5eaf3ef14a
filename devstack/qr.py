"""A QR code in a terminal, two modules to a character, readable by a phone's camera on any background."""

from __future__ import annotations

import segno

_HALVES = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}
_QUIET_ZONE = 2


def qr_lines(text: str, *, unicode: bool) -> list[str]:
    """Draw a QR code as lines of text.

    Light modules are drawn and dark ones left out, as a dark terminal needs it. Without Unicode a module is two
    number signs wide.
    """
    light = [[not module for module in row] for row in segno.make(text, error="l").matrix_iter(border=_QUIET_ZONE)]
    if not unicode:
        return ["".join("##" if module else "  " for module in row) for row in light]
    if len(light) % 2:
        light.append([False] * len(light[0]))
    return [
        "".join(_HALVES[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(light[::2], light[1::2], strict=True)
    ]
