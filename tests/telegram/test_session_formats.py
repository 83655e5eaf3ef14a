"""String sessions in every library's form: what a library wrote is read, and what is written is read back."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings import DataCentre
from app.telegram.data_centres import AddressUnknown, NumberedDataCentre, is_unlocated, locate
from app.telegram.session_formats import LIBRARIES, SessionFormat, read_session, write_session
from app.telegram.string_sessions import plain_address

KEY = bytes(range(256))
# Each written by the library itself (GramJS 2.26.22, mtcute 0.30.3, Kurigram 2.2.26, Telethon 1.45), of the auth key above.
WRITTEN: list[dict[str, Any]] = json.loads(Path(__file__).with_name("session_strings.json").read_text())

formats = st.sampled_from(list(LIBRARIES))
keys = st.binary(min_size=256, max_size=256).filter(any)
data_centres = st.builds(
    DataCentre,
    dc_id=st.integers(1, 211),  # above, Pyrogram's form begins with the digit that marks Telethon's
    host=st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6, network="2001:67c:4e8::/48").map(str),
    port=st.integers(1, 65535),
)


@pytest.mark.parametrize("written", WRITTEN, ids=lambda each: f"{each['format']} at {each['host']}")
def test_what_a_library_wrote_is_read(written: dict[str, Any]) -> None:
    """Recognised, with its auth key; an address that the form leaves out, or that only a browser can use, is Telegram's own."""
    read = read_session(written["text"])
    found = read.data_centre
    data_centre = locate(found, server=None) if isinstance(found, NumberedDataCentre) else found
    assert (read.format, read.auth_key) == (written["format"], KEY)
    assert data_centre == DataCentre(written["dc_id"], str(plain_address(written["host"])), written["port"])


@pytest.mark.parametrize("written", WRITTEN, ids=lambda each: f"{each['format']} at {each['host']}")
def test_what_is_written_is_what_the_library_writes(written: dict[str, Any]) -> None:
    """To the character, but for what is not kept: a bot's mark and a media server, a browser's address, zeros in an address."""
    text = write_session(
        written["format"],
        auth_key=KEY,
        data_centre=DataCentre(written["dc_id"], str(plain_address(written["host"])), written["port"]),
        api_id=12345,
        telegram_user_id=None if written["host"] == "127.0.0.1" else 4242424242,
    )
    kept = (written["format"], written["host"]) not in (
        ("mtcute", "2001:67c:4e8:f002::a"),
        ("mtcute", "149.154.167.40"),
        ("gramjs", "149.154.167.91"),
        ("gramjs", "2001:067c:04e8:f004:0000:0000:0000:000a"),
    )
    assert (text == written["text"]) is kept


@given(session_format=formats, auth_key=keys, data_centre=data_centres, user_id=st.none() | st.integers(1, 2**53))
def test_what_is_written_is_read_back(
    session_format: SessionFormat, auth_key: bytes, data_centre: DataCentre, user_id: int | None
) -> None:
    """As the same form and nothing else, whatever its bytes look like."""
    text = write_session(
        session_format, auth_key=auth_key, data_centre=data_centre, api_id=12345, telegram_user_id=user_id
    )
    read = read_session(text)
    assert (read.format, read.auth_key) == (session_format, auth_key)
    if session_format == "pyrogram":
        assert read.data_centre == NumberedDataCentre(data_centre.dc_id, test_mode=False)
    else:
        assert read.data_centre == data_centre


@given(
    session_format=st.sampled_from(["telethon", "gramjs", "mtcute"]), data_centre=data_centres, left=st.floats(0, 0.999)
)
def test_what_is_cut_off_is_not_read(session_format: SessionFormat, data_centre: DataCentre, left: float) -> None:
    """A string that was not copied to its end is no other form's."""
    text = write_session(
        session_format, auth_key=KEY[::-1], data_centre=data_centre, api_id=1, telegram_user_id=42
    ).rstrip("=")
    with pytest.raises(ValueError, match="none of the libraries"):
        read_session(text[: int(len(text) * left)])


@given(text=st.text() | st.binary(max_size=400).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_nonsense_is_not_read(text: str) -> None:
    """Whatever it is, it is refused in one way."""
    for each in (text, "1" + text, "Aw" + text):
        with pytest.raises(ValueError, match="none of the libraries"):
            read_session(each)


@pytest.mark.parametrize("layout", [">B?256sI?", ">B?256sQ?"])
def test_pyrograms_older_forms_are_read(layout: str) -> None:
    """Those without an api_id, with user ids of four or eight bytes."""
    raw = struct.pack(layout, 4, True, KEY, 4242, False)
    read = read_session(base64.urlsafe_b64encode(raw).decode().rstrip("="))
    assert (read.format, read.auth_key, read.data_centre) == ("pyrogram", KEY, NumberedDataCentre(4, test_mode=True))


def test_a_key_is_not_shown() -> None:
    """Neither by what was read, nor by what could not be."""
    read = read_session(WRITTEN[0]["text"])
    assert repr(KEY)[2:40] not in repr(read)


TELEGRAM, SANDBOX = DataCentre(2, "149.154.167.51", 443), DataCentre(2, "127.0.0.1", 4430)


@pytest.mark.parametrize(
    ("numbered", "server", "found"),
    [
        (NumberedDataCentre(4, test_mode=False), None, DataCentre(4, "149.154.167.91", 443)),
        (NumberedDataCentre(3, test_mode=True), None, DataCentre(3, "149.154.175.117", 443)),
        (NumberedDataCentre(4, test_mode=False), TELEGRAM, DataCentre(4, "149.154.167.91", 443)),
        (NumberedDataCentre(2, test_mode=False), SANDBOX, SANDBOX),
        (NumberedDataCentre(3, test_mode=False), SANDBOX, SANDBOX._replace(dc_id=3)),
    ],
)
def test_a_number_stands_for_an_address(
    numbered: NumberedDataCentre, server: DataCentre | None, found: DataCentre
) -> None:
    """Telegram's, or the configured server's, which is to be asked when that is another data centre."""
    assert locate(numbered, server=server) == found
    if server == SANDBOX:
        assert is_unlocated(found, server) is (numbered.dc_id != server.dc_id)


@pytest.mark.parametrize(
    ("numbered", "server"),
    [
        (NumberedDataCentre(9, test_mode=False), None),
        (NumberedDataCentre(4, test_mode=True), None),
    ],
)
def test_a_number_that_nobody_knows(numbered: NumberedDataCentre, server: DataCentre | None) -> None:
    """Is not taken for another data centre."""
    with pytest.raises(AddressUnknown):
        locate(numbered, server=server)
