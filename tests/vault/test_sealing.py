"""A sealed value opens under its key in its place, and nowhere else."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import SealBroken
from app.vault.sealing import Place, Sealed, open_under, seal_under
from tests.vault.vaults import Vault

KEY, OTHER_KEY = os.urandom(32), os.urandom(32)

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
places = st.builds(Place, names, names, names)


@given(place=places, plaintext=st.binary(max_size=600))
def test_a_value_opens_in_its_place(place: Place, plaintext: bytes) -> None:
    """What was sealed comes back, whatever it is and wherever it belongs."""
    assert open_under(KEY, place, seal_under(KEY, place, plaintext)) == plaintext


@given(place=places, other=places, plaintext=st.binary(max_size=50))
def test_a_swapped_value_does_not_open(place: Place, other: Place, plaintext: bytes) -> None:
    """A ciphertext moved to another purpose, tenant or record stays shut, also when the ids run together the same."""
    ciphertext = seal_under(KEY, place, plaintext)
    if other != place:
        with pytest.raises(SealBroken):
            open_under(KEY, other, ciphertext)
    shifted = Place(place.purpose + place.tenant_id, "", place.record_id)
    if shifted != place:
        with pytest.raises(SealBroken):
            open_under(KEY, shifted, ciphertext)


@given(place=places, plaintext=st.binary(max_size=50), length=st.integers(min_value=0, max_value=400))
def test_a_truncated_value_does_not_open(place: Place, plaintext: bytes, length: int) -> None:
    """Any shorter ciphertext stays shut."""
    ciphertext = seal_under(KEY, place, plaintext)
    with pytest.raises(SealBroken):
        open_under(KEY, place, ciphertext[: length % len(ciphertext)])


@given(place=places, plaintext=st.binary(max_size=50), at=st.integers(min_value=0), flip=st.integers(1, 255))
def test_a_changed_value_does_not_open(place: Place, plaintext: bytes, at: int, flip: int) -> None:
    """A ciphertext with any one byte changed stays shut, or is the same to base64 and opens to the same."""
    ciphertext = bytearray(seal_under(KEY, place, plaintext))
    ciphertext[at % len(ciphertext)] ^= flip
    try:
        opened = open_under(KEY, place, bytes(ciphertext))
    except SealBroken:
        return
    assert opened == plaintext


@given(place=places, plaintext=st.binary(max_size=50))
def test_a_value_under_another_key_does_not_open(place: Place, plaintext: bytes) -> None:
    """The place alone is not enough."""
    with pytest.raises(SealBroken):
        open_under(OTHER_KEY, place, seal_under(KEY, place, plaintext))


@given(key_id=st.from_regex(r"\Akey_[0-9a-z]{1,30}\Z"), ciphertext=st.binary(max_size=100))
def test_a_sealed_value_survives_the_trip_through_redis(key_id: str, ciphertext: bytes) -> None:
    """One value for stores without columns, and back."""
    assert Sealed.from_bytes(Sealed(key_id, ciphertext).to_bytes()) == Sealed(key_id, ciphertext)


@given(value=st.binary(max_size=60).filter(lambda value: b":" not in value))
def test_a_value_without_key_id_is_broken(value: bytes) -> None:
    """What is not of the form is refused as a broken seal, not as a programming error."""
    with pytest.raises(SealBroken):
        Sealed.from_bytes(value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10, deadline=None)
@given(place=places, plaintext=st.binary(max_size=50))
def test_a_retagged_value_does_not_open(vault: Vault, place: Place, plaintext: bytes) -> None:
    """A value tagged with another key's id, existing or not, stays shut."""
    old = vault.keyring.active_key_id()
    sealed = vault.keyring.seal(place, plaintext)
    other = vault.keyring.replace_active(old)
    vault.keyring.forget()
    assert vault.keyring.open(place, sealed) == plaintext
    for key_id in (other, "key_unknown"):
        with pytest.raises(SealBroken):
            vault.keyring.open(place, sealed._replace(key_id=key_id))
