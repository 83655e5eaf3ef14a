"""Every way in which Telegram sends a login code: the user is told what to look for, or why there is nothing to type."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.clock import utc_now
from app.errors import InvalidInput
from app.logins.service import resend_code, submit_code
from app.logins.typed import normalize_code, normalize_phone_number
from tests.logins.stage import ALICE, Stage
from tests.waiting import wait_until


def begin(stage: Stage, *deliveries: str) -> tuple[str, int]:
    """Start a login by code for a new account whose codes are sent in these ways; ids of login and account."""
    account = stage.telegram.create_account(code_deliveries=list(deliveries))
    return stage.start(method="code", phone=f"+{account['phone']}").login.id, account["id"]


def app_codes(stage: Stage, user_id: int) -> list[str]:
    """The codes that came in the account's app."""
    return [str(each["code"]) for each in stage.telegram.messages(user_id) if each["delivery"] == "app"]


@pytest.mark.parametrize(
    ("delivery", "beginning", "pattern"),
    [
        ("app", None, None),
        ("sms", None, None),
        ("call", None, None),
        ("fragment", None, None),
        ("email", None, "a***e@example.com"),
        ("missed_call", None, "4477"),
        ("flash_call", None, "4477*"),
        ("word", 1, None),
        ("phrase", "word", None),
    ],
)
def test_a_code_that_was_sent_can_be_answered(
    stage: Stage, delivery: str, beginning: str | int | None, pattern: str | None
) -> None:
    """The login says how the code was sent and how it looks, and the code logs in."""
    login_id, user_id = begin(stage, delivery)
    shown = stage.wait_for(login_id, "code_required").code
    code = str(stage.telegram.messages(user_id)[-1]["code"])
    assert shown is not None
    assert (shown.delivery, shown.pattern) == (delivery, pattern)
    expected = {None: None, 1: code[0], "word": code.split()[0]}[beginning]
    assert shown.beginning == expected
    assert shown.length == (None if delivery in ("word", "phrase", "flash_call") else len(code))
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=f" {code}\n")
    stage.wait_for(login_id, "authorized")


def test_a_wrong_emailed_code_costs_an_attempt(stage: Stage) -> None:
    """Like every other, and the right one counts afterwards."""
    login_id, user_id = begin(stage, "email")
    stage.wait_for(login_id, "code_required")
    code = str(stage.telegram.messages(user_id)[-1]["code"])
    wrong = f"{(int(code) + 1) % 100_000:05d}"
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=wrong)
    stage.wait_for(login_id, "code_required", when=lambda each: each.code and each.code.attempts_left == 4)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=code)
    stage.wait_for(login_id, "authorized")


@pytest.mark.parametrize(
    ("deliveries", "reason"),
    [
        (("payment",), "payment_required"),
        (("email_setup",), "email_setup_required"),
        (("firebase",), "code_undeliverable"),
        (("firebase", "firebase", "sms"), "code_undeliverable"),
    ],
)
def test_what_nobody_can_answer_ends_with_its_own_reason(
    stage: Stage, deliveries: tuple[str, ...], reason: str
) -> None:
    """The person is told to log in by QR code instead of waiting for a code that never comes."""
    login_id, _ = begin(stage, *deliveries)
    assert stage.wait_for(login_id, "failed").reason == reason


def test_the_next_way_is_asked_for_when_only_an_app_could_answer(stage: Stage) -> None:
    """Firebase is for official apps; the SMS after it is for everybody."""
    login_id, user_id = begin(stage, "firebase", "sms")
    shown = stage.wait_for(login_id, "code_required").code
    assert shown is not None
    assert shown.delivery == "sms"
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=stage.telegram.messages(user_id)[-1]["code"])
    stage.wait_for(login_id, "authorized")


def test_a_code_is_not_needed_when_telegram_says_so(stage: Stage) -> None:
    """auth.sentCodeSuccess: the login finds itself authorized."""
    login_id, user_id = begin(stage, "success")
    assert stage.wait_for(login_id, "authorized").telegram_user_id == user_id


def test_a_resent_code_comes_by_the_next_way_and_the_old_one_stays_when_there_is_none(stage: Stage) -> None:
    """The login shows the new way; asked once more, it goes on with what it has."""
    login_id, user_id = begin(stage, "app", "call")
    stage.wait_for(login_id, "code_required")
    resend_code(stage.core, login_id=login_id, reader=ALICE)
    stage.wait_for(login_id, "code_required", when=lambda each: each.code and each.code.delivery == "call")
    resend_code(stage.core, login_id=login_id, reader=ALICE)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=stage.telegram.messages(user_id)[-1]["code"])
    stage.wait_for(login_id, "authorized")


def test_a_login_says_when_there_is_no_other_way(stage: Stage) -> None:
    """Telegram refuses to send the code again: the login shows it, and the code that was sent stays good."""
    login_id, user_id = begin(stage, "call")
    code = stage.wait_for(login_id, "code_required").code
    assert code is not None
    assert code.no_other_way is None
    resend_code(stage.core, login_id=login_id, reader=ALICE)
    stage.wait_for(login_id, "code_required", when=lambda each: each.code and each.code.no_other_way)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=stage.telegram.messages(user_id)[-1]["code"])
    stage.wait_for(login_id, "authorized")
    assert stage.calls("auth.sendCode") == 1


def test_the_login_says_by_which_way_the_code_would_come_next_and_when(stage: Stage) -> None:
    """As Telegram says it, until there is no next way."""
    login_id, _ = begin(stage, "sms", "missed_call")
    shown = stage.wait_for(login_id, "code_required").code
    assert shown is not None
    assert shown.resend_at is not None
    assert shown.next_delivery == "missed_call"
    assert timedelta(seconds=45) < shown.resend_at - utc_now() <= timedelta(seconds=60)
    resend_code(stage.core, login_id=login_id, reader=ALICE)
    shown = stage.wait_for(
        login_id, "code_required", when=lambda each: each.code and each.code.delivery == "missed_call"
    ).code
    assert shown is not None
    assert (shown.next_delivery, shown.resend_at) == (None, None)


@pytest.mark.parametrize("next_way", ["payment", "email_setup", "firebase"])
def test_asking_again_does_not_cost_the_login(stage: Stage, next_way: str) -> None:
    """A next way that nobody can answer is no other way; a code that Telegram has ended by then is sent anew."""
    login_id, user_id = begin(stage, "app", next_way)
    first = stage.wait_for(login_id, "code_required").version
    resend_code(stage.core, login_id=login_id, reader=ALICE)
    shown = stage.wait_for(login_id, "code_required", when=lambda each: each.version > first).code
    assert shown is not None
    assert (shown.delivery, shown.no_other_way, shown.attempts_left) == ("app", True, 5)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code="00000")
    wait_until(lambda: stage.calls("auth.sendCode") == 2)
    stage.wait_for(login_id, "code_required", when=lambda each: each.code and not each.code.no_other_way)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=app_codes(stage, user_id)[-1])
    stage.wait_for(login_id, "authorized")


@pytest.mark.parametrize(
    ("method", "error", "reason"),
    [
        ("auth.sendCode", "UPDATE_APP_TO_LOGIN", "code_undeliverable"),
        ("auth.sendCode", "SMS_CODE_CREATE_FAILED", "code_undeliverable"),
        ("auth.sendCode", "PHONE_NUMBER_APP_SIGNUP_FORBIDDEN", "phone_invalid"),
        ("auth.signIn", "UPDATE_APP_TO_LOGIN", "code_undeliverable"),
    ],
)
def test_what_telegram_refuses_to_us_is_no_defect(stage: Stage, method: str, error: str, reason: str) -> None:
    """These are known answers, with a reason that says what helps: another number, or the QR code."""
    stage.telegram.add_fault(method, error=error)
    login_id, user_id = begin(stage, "app")
    if method == "auth.signIn":
        stage.wait_for(login_id, "code_required")
        submit_code(stage.core, login_id=login_id, reader=ALICE, code=app_codes(stage, user_id)[-1])
    assert stage.wait_for(login_id, "failed").reason == reason


def test_a_code_of_the_wrong_length_costs_no_attempt(stage: Stage) -> None:
    """It cannot be the one that was sent: refused at once, and nothing is asked of Telegram."""
    login_id, _ = begin(stage, "app")
    stage.wait_for(login_id, "code_required")
    for typed in ("1234", "123456", "no digits"):
        with pytest.raises(InvalidInput) as refused:
            submit_code(stage.core, login_id=login_id, reader=ALICE, code=typed)
        assert refused.value.errors[0][0] == "code"
    shown = stage.login(login_id).code
    assert shown is not None
    assert shown.attempts_left == 5
    assert stage.calls("auth.signIn") == 0


@pytest.mark.parametrize(
    "typed",
    [
        "12345",
        "1 2 3 4 5",
        "1\u22122\u20103\u00a04\u20285",
        "123-45",
        "\uff11\uff12\uff13\uff14\uff15",
        "١٢٣٤٥",
        "12345\r\n",
        "\u200e12345\u200f",
        "Code: 12345",
    ],
)
def test_a_code_is_understood_in_any_form(typed: str) -> None:
    """As people type and paste it."""
    assert normalize_code(typed, delivery="sms", length=5) == "12345"


def test_words_and_callers_numbers_are_understood_too() -> None:
    """A phrase keeps single spaces; of a whole number that called the last digits are the code."""
    assert normalize_code("  blue\u00a0\n whale\u200b ", delivery="phrase", length=None) == "blue whale"
    assert normalize_code("blue \u200e whale", delivery="phrase", length=None) == "blue whale"
    assert normalize_code("Blue Whale", delivery="phrase", length=None) == "Blue Whale"
    assert normalize_code("\u0645\u06cc\u200c\u0631\u0648\u062f", delivery="word", length=None) == (
        "\u0645\u06cc\u200c\u0631\u0648\u062f"
    ), "a joiner is a letter's shape"
    assert normalize_code("+44 770 123456", delivery="missed_call", length=6) == "123456"


@pytest.mark.parametrize(
    "typed",
    [
        "+4915112345678",
        "+49 (151) 123-456.78",
        "+49 (0)151 12345678",
        "0049 (0) 151/12345678",
        "0049 151 12345678",
        "4915112345678",
        "٤٩١٥١١٢٣٤٥٦٧٨",
        "+49\u200e15112345678",
    ],
)
def test_a_phone_number_is_understood_in_any_form(typed: str) -> None:
    """Spaces, dashes, brackets, 00 or nothing for the plus, and the digits of any script."""
    assert normalize_phone_number(typed) == "+4915112345678"


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "abc",
        "+49151x12",
        "0151 1234567",
        "12345",
        "1234567",
        "+49 151 1234 5678 9012 3",
        "+49 151 123456, +49",
        "+49 151 123456#12",
        "49+151123456",
        "+49 151 123456 ;7",
        "+0 151 1234567",
    ],
)
def test_what_is_no_international_number_is_refused(typed: str) -> None:
    """With what to do instead."""
    with pytest.raises(ValueError, match="international"):
        normalize_phone_number(typed)
