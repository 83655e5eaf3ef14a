"""What the hosted page says: the same things in every language, and something for whatever can happen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

import pytest
from flask.testing import FlaskClient

from app.logins.code_delivery import CodeDelivery, read_delivery
from app.logins.view import FailureReason
from sandbox import tl
from web.page_texts import LANGUAGES, TEXTS, Texts, choose_language
from web.parts import Parts

auth = tl.types.auth

_NOTHING_TO_DO = {"api_id_invalid", "internal_error"}  # the person can only start again, as for any other failure
_SENT_TYPES = [
    auth.SentCodeTypeApp(5),
    auth.SentCodeTypeSms(5),
    auth.SentCodeTypeCall(5),
    auth.SentCodeTypeFlashCall("4477*"),
    auth.SentCodeTypeMissedCall("4477", 6),
    auth.SentCodeTypeEmailCode("a***e@example.com", 6),
    auth.SentCodeTypeFragmentSms("https://fragment.com/", 5),
    auth.SentCodeTypeSmsWord("a"),
    auth.SentCodeTypeSmsPhrase("amber"),
]
_PLURAL_CATEGORIES = {"zero", "one", "two", "few", "many", "other"}
# A single thing, and two in Arabic, is said without its number.
_WITHOUT_NUMBER = {"zero", "one", "two"}


def _sentences(texts: Texts) -> Iterator[tuple[str, str, str]]:
    """Each sentence with its key and its plural category, which is empty where there is none."""
    for key, text in texts.items():
        if isinstance(text, str):
            yield key, "", text
        else:
            yield from ((key, category, form) for category, form in text.items())


def _places(text: str) -> list[str]:
    """What is filled in."""
    return sorted(re.findall(r"\{(\w+)\}", text))


def test_there_are_eleven_languages() -> None:
    """Each by its tag and by what it calls itself."""
    assert set(LANGUAGES) == {"ar", "de", "en", "es", "fa", "fr", "hi", "id", "pt", "ru", "tr"}
    assert LANGUAGES["fa"] == "فارسی"


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_the_languages_say_the_same_things(language: str) -> None:
    """No key and no place to fill in is missing, and none is too many: either would be a page that breaks for some."""
    texts, english = TEXTS[language], TEXTS["en"]
    assert list(texts) == list(english)
    for key, category, text in _sentences(texts):
        original = english[key]
        assert isinstance(original, str) == (category == ""), key
        wanted = _places(original if isinstance(original, str) else original["other"])
        left_out = wanted == ["n"] and category in _WITHOUT_NUMBER and not _places(text)
        assert left_out or _places(text) == wanted, (key, category)
        assert text == text.strip() != "", (key, category)


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_every_plural_has_the_form_for_everything_else(language: str) -> None:
    """And no form that no language has. (``test_page_languages`` asks the browser which ones this language has.)"""
    for text in TEXTS[language].values():
        if not isinstance(text, str):
            assert "other" in text
            assert set(text) <= _PLURAL_CATEGORIES


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        (["pt-BR"], "pt"),
        (["pt_PT"], "pt"),
        (["FR-ca"], "fr"),
        (["in"], "id"),
        (["zh-Hant", "de"], "de"),
        ([None, "ar-EG"], "ar"),
        (["xx", ""], "en"),
        ([], "en"),
    ],
)
def test_a_language_is_chosen_by_tags(wanted: list[str | None], language: str) -> None:
    """By the first one that there are texts for, whatever its region; English when there is none."""
    assert choose_language(wanted) == language


@pytest.mark.parametrize(
    ("query", "accepted", "language", "direction"),
    [
        ("", "tr-TR, en;q=0.5", "tr", ""),
        ("", "en;q=0.5, fa", "fa", "rtl"),
        ("", "zh, de;q=0, hi;q=0.3", "hi", ""),
        ("?lang=ar", "tr", "ar", "rtl"),
        ("?lang=nonsense", "tr", "tr", ""),
    ],
)
def test_the_page_comes_in_the_readers_language(
    web: tuple[FlaskClient, Parts], query: str, accepted: str, language: str, direction: str
) -> None:
    """The one that was switched to goes before the browser's own, and the direction is the language's."""
    page = web[0].get(f"/login/lgn_x{query}", headers={"Accept-Language": accepted}).text
    attributes = f'lang="{language}"' + (f' dir="{direction}"' if direction else "")
    assert f"<html {attributes}>" in page
    assert f'<option value="{language}" lang="{language}" selected>' in page


def test_every_reason_has_its_sentence() -> None:
    """Which says what helps."""
    for texts in TEXTS.values():
        assert {reason for reason in get_args(FailureReason) if f"reason_{reason}" not in texts} == _NOTHING_TO_DO


def test_every_way_of_sending_a_code_has_its_sentence() -> None:
    """Which says where to look."""
    found = [read_delivery(each) for each in _SENT_TYPES]
    named = [each.delivery for each in found if isinstance(each, CodeDelivery)]
    assert len(named) == len(_SENT_TYPES)
    for texts in TEXTS.values():
        assert [name for name in named if f"code_by_{name}" not in texts] == []
