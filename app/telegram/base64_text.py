"""Base64 as the libraries write it: either alphabet, padded or not."""

from __future__ import annotations

import base64


def read_base64(text: str) -> bytes:
    """Decode it.

    Raises:
        ValueError: it is not base64, or empty.
    """
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    if not plain:
        raise ValueError("empty")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def write_url_base64(raw: bytes) -> str:
    """Encode for a URL, unpadded."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
