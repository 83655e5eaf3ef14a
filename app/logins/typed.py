"""What people type, in the form that Telegram takes: phone numbers and login codes. Passwords stay as they were typed."""

from __future__ import annotations

import unicodedata

import phonenumbers

from app.errors import InvalidInput

_IN_WORDS = ("word", "phrase")
_INVISIBLE = ("Cf", "Cc")  # zero-width and direction marks, line ends
_SHORTEST_NUMBER, _LONGEST_NUMBER = 7, 15
_SHORTEST_WITHOUT_PLUS = 8  # fewer digits without a plus are somebody's local number


def normalize_phone_number(text: str) -> str:
    """Bring an international phone number into E.164: ``+``, then 7 to 15 digits.

    Spaces, dashes, brackets, dots, ``00`` or nothing instead of ``+`` and the digits of any script are understood. Whether a
    numbering plan knows the number is Telegram's to say: test numbers are in none.

    Raises:
        ValueError: it is not one; the message says what to do.
    """
    typed = "".join(
        each for each in unicodedata.normalize("NFKC", text) if unicodedata.category(each) not in _INVISIBLE
    )
    digits = phonenumbers.normalize_digits_only(typed)
    has_plus = typed.strip().startswith("+")
    if digits.startswith("00") and not has_plus:
        has_plus, digits = True, digits[2:]
    shortest = _SHORTEST_NUMBER if has_plus else _SHORTEST_WITHOUT_PLUS
    has_letters = any(each.isalpha() for each in typed)
    if has_letters or digits.startswith("0") or not shortest <= len(digits) <= _LONGEST_NUMBER:
        raise ValueError(
            "must be an international number: the country's code, then the number, 7 to 15 digits in all (+49 1512 3456789)"
        )
    return f"+{digits}"


def normalize_code(text: str, *, delivery: str, length: int | None) -> str:
    """Bring a typed or pasted login code into the form that Telegram sent it in.

    A code of digits loses everything else (``1 2 3-45``, digits of any script); a word or a phrase keeps its letters and single
    spaces between words.

    Args:
        delivery: how the code was sent.
        length: how many characters it must have; None: any number.

    Raises:
        InvalidInput: nothing is left, or it has another length. It costs no attempt.
    """
    plain = unicodedata.normalize("NFKC", text)
    if delivery in _IN_WORDS:
        code = " ".join(plain.translate({ord(each): " " for each in "\r\n\t"}).split())
        code = "".join(each for each in code if unicodedata.category(each) not in _INVISIBLE)
    else:
        code = phonenumbers.normalize_digits_only(plain)
        if delivery == "missed_call" and length is not None:
            code = code[-length:]  # whoever pastes the caller's whole number has it right
    if not code:
        raise _not_a_code("must hold the code that Telegram sent")
    if length is not None and len(code) != length:
        raise _not_a_code(f"must have {length} digits; this has {len(code)}")
    return code


def _not_a_code(message: str) -> InvalidInput:
    return InvalidInput("Check the code.", errors=(("code", message),))
