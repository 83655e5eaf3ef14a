"""What people type, in the form that Telegram takes: phone numbers and login codes. Passwords stay as they were typed."""

from __future__ import annotations

import re
import unicodedata

import phonenumbers

from app.errors import InvalidInput

_IN_WORDS = ("word", "phrase")
_INVISIBLE = ("Cf", "Cc")  # zero-width and direction marks, line ends
_JOINERS = "\u200c\u200d"  # they shape the letters of a word in Persian and Hindi
_BETWEEN_DIGITS = frozenset(
    " ()[].-/\u2212"
)  # brackets, dots, slashes and whatever else Unicode calls a space or a dash
_TRUNK_ZERO = re.compile(r"\(0\)")  # +49 (0)151: dialled inside the country only
_SHORTEST_NUMBER, _LONGEST_NUMBER = 7, 15
_SHORTEST_WITHOUT_PLUS = 8  # fewer digits without a plus are somebody's local number


def normalize_phone_number(text: str) -> str:
    """Bring an international phone number into E.164: ``+``, then 7 to 15 digits.

    Spaces, dashes, brackets, dots, ``00`` or nothing instead of ``+``, a ``(0)`` and the digits of any script are understood.
    Anything else is refused, for it may begin an extension or a second number. Whether a numbering plan knows the number is
    Telegram's to say: test numbers are in none.

    Raises:
        ValueError: it is not one; the message says what to do.
    """
    typed = _without_marks(unicodedata.normalize("NFKC", text)).strip()
    digits = phonenumbers.normalize_digits_only(_TRUNK_ZERO.sub("", typed))
    has_plus, rest = typed.startswith("+"), typed.removeprefix("+")
    if digits.startswith("00") and not has_plus:
        has_plus, digits = True, digits[2:]
    shortest = _SHORTEST_NUMBER if has_plus else _SHORTEST_WITHOUT_PLUS
    is_strange = not all(each.isdecimal() or _is_between_digits(each) for each in rest)
    if is_strange or digits.startswith("0") or not shortest <= len(digits) <= _LONGEST_NUMBER:
        raise ValueError(
            "must be an international number: the country's code, then the number, 7 to 15 digits in all (+49 1512 3456789)"
        )
    return f"+{digits}"


def normalize_code(text: str, *, delivery: str, length: int | None) -> str:
    """Bring a typed or pasted login code into the form that Telegram sent it in.

    A code of digits loses everything else (``1 2 3-45``, digits of any script); a word or a phrase keeps its letters, small and
    capital as they are (Telegram does not say that it compares them without regard to case), and single spaces between words.

    Args:
        delivery: how the code was sent.
        length: how many characters it must have; None: any number.

    Raises:
        InvalidInput: nothing is left, or it has another length. It costs no attempt.
    """
    plain = unicodedata.normalize("NFKC", text)
    if delivery in _IN_WORDS:
        code = " ".join(_without_marks(" ".join(plain.split()), keep=_JOINERS).split())
    else:
        code = phonenumbers.normalize_digits_only(plain)
        if delivery == "missed_call" and length is not None:
            code = code[-length:]  # whoever pastes the caller's whole number has it right
    if not code:
        raise _not_a_code("must hold the code that Telegram sent")
    if length is not None and len(code) != length:
        raise _not_a_code(f"must have {length} digits; this has {len(code)}")
    return code


def _without_marks(text: str, *, keep: str = "") -> str:
    return "".join(each for each in text if each in keep or unicodedata.category(each) not in _INVISIBLE)


def _is_between_digits(character: str) -> bool:
    return character in _BETWEEN_DIGITS or unicodedata.category(character) in ("Zs", "Pd")


def _not_a_code(message: str) -> InvalidInput:
    return InvalidInput("Check the code.", errors=(("code", message),))
