"""What the hosted page says: the same things in every language, and something for whatever can happen."""

from __future__ import annotations

import re
from typing import get_args

from app.logins.code_delivery import CodeDelivery, read_delivery
from app.logins.view import FailureReason
from sandbox import tl
from web.page_texts import TEXTS

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


def _subjects(language: str) -> set[str]:
    """The keys, each plural once."""
    return {re.sub(r"^(attempts)_\w+", r"\1", key) for key in TEXTS[language]}


def test_the_languages_say_the_same_things() -> None:
    """A text that one language lacks would be a page that breaks for some."""
    assert _subjects("en") == _subjects("ru")


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
