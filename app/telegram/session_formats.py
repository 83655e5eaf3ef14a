"""String sessions in the forms of the libraries that people use: each says an auth key and its data centre in its own way.

The forms cannot be taken for one another: each has its own lengths, marks and ranges, and all of them are checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from app.settings import DataCentre
from app.telegram.data_centres import NumberedDataCentre
from app.telegram.gramjs_sessions import read_gramjs_session, write_gramjs_session
from app.telegram.mtcute_sessions import read_mtcute_session, write_mtcute_session
from app.telegram.pyrogram_sessions import read_pyrogram_session, write_pyrogram_session
from app.telegram.string_sessions import make_string_session, read_string_session

SessionFormat = Literal["telethon", "pyrogram", "gramjs", "mtcute"]
"""Whose form it is. ``pyrogram``: Kurigram's, too."""

LIBRARIES: dict[SessionFormat, str] = {
    "telethon": "Telethon",
    "pyrogram": "Pyrogram (Kurigram)",
    "gramjs": "GramJS",
    "mtcute": "mtcute",
}
"""The libraries' own names."""


@dataclass(frozen=True)
class ReadSession:
    """What a string session says."""

    format: SessionFormat
    auth_key: bytes = field(repr=False)
    data_centre: DataCentre | NumberedDataCentre


# GramJS's comes before Telethon's: Telethon's reader takes what has the right length, and finds an address in any bytes.
_READERS: dict[SessionFormat, Callable[[str], tuple[bytes, DataCentre | NumberedDataCentre]]] = {
    "gramjs": read_gramjs_session,
    "telethon": read_string_session,
    "mtcute": read_mtcute_session,
    "pyrogram": read_pyrogram_session,
}


def read_session(text: str) -> ReadSession:
    """Recognise a string session and take it apart: auth key (256 bytes) and data centre.

    Raises:
        ValueError: it has none of the forms.
    """
    for session_format, read in _READERS.items():
        try:
            found = ReadSession(session_format, *read(text))
        except ValueError:
            continue
        if any(found.auth_key):  # zeros are how a library writes that there is none
            return found
    raise ValueError("a string session of none of the libraries")


def write_session(
    session_format: SessionFormat,
    *,
    auth_key: bytes,
    data_centre: DataCentre,
    api_id: int,
    telegram_user_id: int | None,
) -> str:
    """Write a string session in a library's form.

    Args:
        auth_key: 256 bytes.
        data_centre: at an address, not a host name.
        api_id: under which the library is to use it; Pyrogram's form holds it.
        telegram_user_id: whose it is, which Pyrogram's and mtcute's forms hold; None: not known.
    """
    match session_format:
        case "telethon":
            return make_string_session(auth_key=auth_key, data_centre=data_centre)
        case "pyrogram":
            return write_pyrogram_session(
                auth_key=auth_key, data_centre=data_centre, api_id=api_id, telegram_user_id=telegram_user_id
            )
        case "gramjs":
            return write_gramjs_session(auth_key=auth_key, data_centre=data_centre)
        case "mtcute":
            return write_mtcute_session(auth_key=auth_key, data_centre=data_centre, telegram_user_id=telegram_user_id)
