"""Reads JSON bodies strictly: every field has its type, and a field that nobody knows is an error."""

import json
import operator
from typing import Any, Final, TypeVar, cast

Value = TypeVar("Value")

_NAMES: Final = {str: "text", int: "a whole number", bool: "true or false"}


class BodyError(Exception):
    """Raised when a body is not what the call wants; the message is for the caller."""


class Body:
    """The fields of one body, taken one by one; `finish` refuses the rest."""

    def __init__(self, raw: bytes) -> None:
        """Parse a body; an empty one has no fields.

        Raises:
            BodyError: it is not a JSON object.
        """
        try:
            parsed = json.loads(raw) if raw.strip() else {}
        except ValueError as exc:
            raise BodyError(f"the body is not JSON: {exc}") from exc
        if not isinstance(parsed, dict):
            raise BodyError("the body must be a JSON object")
        self._fields: dict[str, Any] = parsed
        self.is_empty = not parsed

    def take(self, name: str, kind: type[Value]) -> Value | None:
        """Return a field; None when it is missing or null.

        Raises:
            BodyError: it has another type.
        """
        value = self._fields.pop(name, None)
        if value is None:
            return None
        if type(value) is not kind:  # a bool is an int for Python, not for whoever reads the contract
            raise BodyError(f"{name} must be {_NAMES[kind]}")
        return value

    def take_number(self, name: str, *, minimum: int, maximum: int) -> int | None:
        """Return a whole number within bounds; None when it is missing or null.

        Raises:
            BodyError: it is none.
        """
        value = self.take(name, int)
        if value is not None and not minimum <= value <= maximum:
            raise BodyError(f"{name} must be between {minimum} and {maximum}")
        return value

    def take_choice(self, name: str, choices: type[Value]) -> Value | None:
        """Return a field as a member of an enumeration; None when it is missing or null.

        Raises:
            BodyError: it is none of the members.
        """
        value = self.take(name, str)
        if value is None:
            return None
        try:
            return cast("Any", choices)(value)  # type: ignore[no-any-return]
        except ValueError as exc:
            members = ", ".join(map(str, cast("Any", choices)))
            raise BodyError(f"{name} must be one of: {members}") from exc

    def take_choices(self, name: str, choices: type[Value]) -> tuple[Value, ...] | None:
        """Return a field that lists members of an enumeration, one at least; None when it is missing or null.

        Raises:
            BodyError: it is no list, an empty one, or holds something else.
        """
        values = self._fields.pop(name, None)
        if values is None:
            return None
        try:
            found = tuple(cast("Any", choices)(value) for value in values) if isinstance(values, list) else ()
        except ValueError:
            found = ()
        if not found:
            raise BodyError(f"{name} must be a list of: {', '.join(map(str, cast('Any', choices)))}")
        return found

    def take_key_id(self, name: str) -> int | None:
        """Return an auth key id, unsigned; it may be written as a number or in hexadecimal.

        Raises:
            BodyError: it is neither.
        """
        value = self._fields.pop(name, None)
        if value is None:
            return None
        try:
            number = int(value, 16) if isinstance(value, str) else operator.index(value)
            return int.from_bytes(number.to_bytes(8, "big", signed=number < 0), "big")
        except (ValueError, TypeError, OverflowError) as exc:
            raise BodyError(f"{name} must be a 64-bit number, or one in hexadecimal") from exc

    def finish(self) -> None:
        """Refuse fields that nobody took.

        Raises:
            BodyError: there are some.
        """
        if self._fields:
            raise BodyError(f"unknown field: {', '.join(sorted(self._fields))}")
