"""The documentation's snippet is right."""

from __future__ import annotations

import re
from pathlib import Path

from app.clock import utc_now
from app.webhooks.delivery import sign

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_snippet_verifies_what_is_sent() -> None:
    """What ``docs/webhooks.md`` tells to paste reads an event that was signed here."""
    (snippet,) = re.findall(r"```python\n(.*?)```", Path("docs/webhooks.md").read_text(), re.DOTALL)
    body = '{"type":"login.failed"}'
    names: dict[str, object] = {
        "secret": SECRET,
        "body": body,
        "headers": sign([SECRET], message_id="msg_1", body=body, at=utc_now()),
    }
    exec(snippet, names)
    assert names["event"] == {"type": "login.failed"}
