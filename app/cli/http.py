"""A caller of Latchkey's own HTTP API, for commands that work from any machine. Needs no settings of the server."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from app.errors import AppError, Transient

_TIMEOUT_SECONDS = 45  # longer than the longest long poll


class CallRefused(AppError):
    """Raised when the server says no; the message is the server's own sentence.

    Args:
        status: the answer's HTTP status; None when no server was asked.
    """

    code = "call_refused"

    def __init__(self, detail: str, *, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status


class Api:
    """One API key's access to one server."""

    def __init__(self, url: str, *, api_key: str) -> None:
        if urlsplit(url).scheme not in {"http", "https"}:
            raise CallRefused(f"{url} is no http:// or https:// address.")
        self._url = url.rstrip("/")
        self._api_key = api_key

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Call and return the JSON answer.

        Raises:
            CallRefused: the server refused, or there is something else at that address.
            Transient: no answer, or one that says to come back; worth another try.
        """
        request = urllib.request.Request(  # noqa: S310  # the scheme was checked
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._api_key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310  # as above
                return _read_object(response.read())
        except urllib.error.HTTPError as exc:
            sentence = _sentence(_read_object(exc.read())) or f"{self._url} answered {exc.code}."
            if exc.code in {502, 503, 504}:
                raise Transient(sentence) from exc
            raise CallRefused(sentence, status=exc.code) from exc
        except (OSError, http.client.HTTPException) as exc:
            raise Transient(f"{self._url} does not answer: {getattr(exc, 'reason', exc)}") from exc


def _sentence(problem: dict[str, Any]) -> str:
    """What a problem says, with what is wrong with each field; empty when it is none of ours."""
    detail, errors = problem.get("detail"), problem.get("errors", [])
    if not isinstance(detail, str) or not isinstance(errors, list):
        return ""
    fields = [f"{each.get('field')} {each.get('message')}." for each in errors if isinstance(each, dict)]
    return " ".join([detail, *fields])


def _read_object(raw: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(raw)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
