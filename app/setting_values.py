"""What some settings are made of: read and checked here, so that a process with a senseless one ends at its start.

Every function raises ``ValueError`` with what is wrong; whoever calls knows the setting's name. No message repeats a secret.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

KEY_BYTES = 32
PROXY_SCHEMES = ("socks5", "socks4", "http")
_SENTINEL_PORT = 26379
_LONGEST_CREDENTIAL = 255  # SOCKS5 tells a length in one byte. Source: https://www.rfc-editor.org/rfc/rfc1929


def split_proxy(url: str) -> SplitResult:
    """Take a proxy's URL apart; scheme, hostname and port are there, and a proxy can be told its user and password."""
    parts = _split(url)
    if parts.scheme not in PROXY_SCHEMES or not parts.hostname or not _port(parts):
        raise ValueError("must look like socks5://user:password@host:1080 (or socks4, http)")
    credentials = [unquote(each or "") for each in (parts.username, parts.password)]
    if not all(each.isascii() for each in credentials):
        raise ValueError("must have a user and a password of ASCII characters only: proxies get no others")
    if max(map(len, credentials)) > _LONGEST_CREDENTIAL:
        raise ValueError(f"must have a user and a password of {_LONGEST_CREDENTIAL} characters at most")
    if parts.scheme == "http" and ":" in credentials[0]:
        raise ValueError("must have a user without a colon: HTTP cannot tell it from the password")
    return parts


def check_http_url(url: str, *, bare: bool = False) -> str:
    """Pass on an absolute http or https URL.

    Args:
        bare: whether paths are put behind it, so that it may have no query and no fragment.
    """
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or _port(parts) == 0:
        raise ValueError("must be an http:// or https:// address")
    if bare and (parts.query or parts.fragment):
        raise ValueError("must be an address without ? and #")
    return url


@dataclass(frozen=True)
class Sentinels:
    """A Redis whose master the Sentinels know.

    Args:
        addresses: of the Sentinels, host and port.
        master: its name among them.
        username, password: Redis' own; None: there is none. The Sentinels themselves ask for none.
    """

    addresses: tuple[tuple[str, int], ...]
    master: str
    database: int
    username: str | None
    password: str | None = field(repr=False)


def split_sentinels(url: str) -> Sentinels:
    """Take ``sentinel://user:password@one:26379,two:26379,three:26379/0?master=latchkey`` apart."""
    parts = _split(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    query, database = dict(parse_qsl(parts.query)), parts.path.strip("/") or "0"
    addresses = tuple(_sentinel(each) for each in hosts.split(","))
    if set(query) != {"master"} or not database.isdecimal() or not all(host and port for host, port in addresses):
        raise ValueError("must look like sentinel://one:26379,two:26379,three:26379/0?master=latchkey")
    return Sentinels(
        addresses=addresses,
        master=query["master"],
        database=int(database),
        username=unquote(username) or None,
        password=unquote(password) or None,
    )


def _sentinel(address: str) -> tuple[str, int]:
    """A host and its port; 0 when it is none."""
    parts = urlsplit(f"//{address}")
    return parts.hostname or "", _SENTINEL_PORT if _port(parts) is None else _port(parts) or 0


def check_redis_url(url: str) -> str:
    """Pass on a URL of a Redis database, or of Sentinels."""
    parts = _split(url)
    if parts.scheme == "sentinel":
        split_sentinels(url)
        return url
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("must start with redis://, rediss:// or sentinel://")
    if parts.scheme != "unix" and (_port(parts) == 0 or not (parts.path.strip("/") or "0").isdecimal()):
        raise ValueError("must look like redis://host:6379/0")
    return url


def check_broker_url(url: str) -> str:
    """Pass on a URL of Celery's broker: Redis, Sentinels, or RabbitMQ."""
    parts = _split(url)
    if parts.scheme not in ("amqp", "amqps"):
        return check_redis_url(url)
    query = dict(parse_qsl(parts.query))
    if not parts.hostname or _port(parts) == 0 or not set(query) <= {"cacertfile"}:
        raise ValueError("must look like amqp://user:password@host:5672/vhost, or amqps:// with ?cacertfile=path")
    if "cacertfile" in query:
        _must_exist(Path(query["cacertfile"]))
    return url


def read_local_keys(path: Path) -> list[bytes]:
    """Read key encryption keys: base64 of 32 random bytes each, one per line."""
    _must_exist(path)
    try:
        keys = [base64.b64decode(line, validate=True) for line in path.read_bytes().split()]
    except (OSError, binascii.Error) as exc:
        raise ValueError(f"{path} cannot be read as base64") from exc
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(f"{path} must hold base64 of {KEY_BYTES} bytes, one key per line")
    return keys


def read_public_keys(path: Path) -> list[RSAPublicKey]:
    """Read RSA keys: one PEM block after the other."""
    _must_exist(path)
    keys = []
    try:
        for pem in path.read_text().split("-----END ")[:-1]:
            block = pem[pem.index("-----BEGIN ") :]
            label = block.removeprefix("-----BEGIN ").split("-----", 1)[0]
            keys.append(load_pem_public_key(f"{block}-----END {label}-----\n".encode()))
    except (OSError, ValueError) as exc:
        raise ValueError(f"{path} cannot be read as PEM") from exc
    found = [key for key in keys if isinstance(key, RSAPublicKey)]
    if not found or len(found) != len(keys):
        raise ValueError(f"{path} must hold RSA public keys in PEM")
    return found


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        # ``from None``: the exception's text may repeat user and password.
        raise ValueError("must be an address; write what is not ASCII in it as %XX") from None


def _port(parts: SplitResult) -> int | None:
    """The port, None if there is none, 0 if it is none."""
    try:
        return parts.port
    except ValueError:
        return 0
