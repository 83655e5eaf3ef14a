"""Reading requests: JSON bodies that fail with a sentence, ids in paths, and the base of every body's model."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from flask import Flask, request
from flask import Request as FlaskRequest
from gevent import Timeout
from gunicorn.http.errors import ParseException
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, RequestTimeout, UnsupportedMediaType
from werkzeug.routing import BaseConverter

from app.errors import InvalidInput

MAX_BODY_BYTES = 64 * 1024
_TOO_LARGE = f"The body is over {MAX_BODY_BYTES} bytes."
_BODY_SECONDS = 10.0
"""In all: a body that comes byte by byte holds a greenlet, and says nothing. The server itself limits the head."""
_EXACT = 2**53  # every integer below is a double
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_LONGEST_NUMBER = 100  # digits; Telegram's ids have 19


class Body(BaseModel):
    """A JSON body: unknown fields are errors, and "1" is not a number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Query(BaseModel):
    """A query string: unknown parameters are errors."""

    model_config = ConfigDict(extra="forbid")


def _spelled(value: object) -> object:
    if not isinstance(value, str) or not _DATE.match(value):  # Pydantic takes seconds since 1970 as well
        raise ValueError("must be a time such as 2026-01-31T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_spelled), Field(strict=False)]
"""A time with its zone, as RFC 3339 spells it."""


class IdConverter(BaseConverter):
    """An id in a path. Anything else is nothing, before it gets near a database."""

    regex = r"[A-Za-z0-9_-]{1,80}"


class SessionIdConverter(IdConverter):
    """A session's id, where the word that stands beside them in paths is none."""

    regex = rf"(?!revoke$){IdConverter.regex}"


class Request(FlaskRequest):
    """A request whose JSON is read strictly."""

    # A body that comes in chunks tells no length before, and Werkzeug cuts it off here without a word: one byte more shows it.
    max_content_length = MAX_BODY_BYTES + 1

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Read the body as a JSON object; an empty one is an empty object.

        Raises:
            BadRequest, RequestEntityTooLarge, RequestTimeout, UnsupportedMediaType: it is not one, too long, late, or called
                something else.
        """
        raw = self.read_whole()
        if not raw:
            return {}
        if not self.is_json:
            raise UnsupportedMediaType("Send the body as Content-Type: application/json.")
        try:
            body = json.loads(
                raw.decode("utf-8-sig"),  # JSON is UTF-8; a byte order mark in front is forgiven
                parse_int=_parse_int,
                parse_float=_parse_float,
                parse_constant=_refuse_constant,
                object_pairs_hook=_without_duplicates,
            )
        except json.JSONDecodeError as exc:
            raise BadRequest(f"The body is not JSON: {exc.msg} at line {exc.lineno} column {exc.colno}.") from exc
        except UnicodeDecodeError as exc:
            raise BadRequest("The body is not JSON: it is not UTF-8.") from exc
        except RecursionError as exc:
            raise BadRequest("The body is nested too deeply.") from exc
        except ValueError as exc:
            raise BadRequest(f"The body is not JSON: {exc}.") from exc
        if not isinstance(body, dict):
            raise InvalidInput("The body must be a JSON object.", errors=(("", "must be an object"),))
        return body

    def read_whole(self) -> bytes:
        """Read the body, once; it is there from then on.

        Raises:
            BadRequest, RequestEntityTooLarge, RequestTimeout: it is cut short, too long, or late.
        """
        try:
            with Timeout(_BODY_SECONDS, RequestTimeout(f"The body did not come within {_BODY_SECONDS:.0f} s.")):
                raw = self.get_data()
        except (OSError, ParseException) as exc:
            raise BadRequest("The body cannot be read.") from exc
        if len(raw) > MAX_BODY_BYTES:
            raise RequestEntityTooLarge(_TOO_LARGE)
        if len(raw) < (self.content_length or 0):
            raise BadRequest("The body is shorter than its Content-Length.")  # nothing is not the same as {}
        return raw


def install_parsing(app: Flask) -> None:
    """Read this app's requests this way; call before routes are added."""
    app.request_class = Request
    app.url_map.converters |= {"id": IdConverter, "session": SessionIdConverter}
    app.before_request(_refuse_large_bodies)


def _refuse_large_bodies() -> None:
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge(_TOO_LARGE)


def _parse_int(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"a number has more than {_LONGEST_NUMBER} digits")
    return int(digits)


def _parse_float(text: str) -> int | float:
    """Read 60.0 as the 60 that it is to JSON, which knows numbers only."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name appears twice in one object")
    return members
