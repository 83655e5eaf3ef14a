"""The reference that is kept in the repository: docs/openapi.json and docs/reference/errors.md, written from the code.

``python -m web.reference`` writes them, ``--check`` says what is out of date and exits with 1. Needs no database and no Redis.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from app.settings import Settings
from web.factory import create_app
from web.reference_errors import describe_errors

DOCS = Path(__file__).resolve().parent.parent / "docs"
_EXAMPLE_URL = "https://latchkey.example"


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document of an installation at an example address, its paths in alphabetical order."""
    with tempfile.TemporaryDirectory(prefix="latchkey-reference-") as folder:
        key_file = Path(folder) / "key"
        key_file.write_bytes(base64.b64encode(bytes(32)))
        app = create_app(
            Settings(
                _env_file=None,
                database_url="postgresql+psycopg2://nobody@127.0.0.1:1/nothing",
                redis_url="redis://127.0.0.1:1/0",
                telegram_api_id=1,
                telegram_api_hash="0" * 32,
                local_key_file=key_file,
                public_url=_EXAMPLE_URL,
            )
        )
        with app.app_context():
            document = app.spec
    assert isinstance(document, dict)
    return {**document, "paths": dict(sorted(document["paths"].items()))}


def reference_pages() -> dict[Path, str]:
    """Every page with its text."""
    document = openapi_document()
    return {
        DOCS / "openapi.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        DOCS / "reference" / "errors.md": describe_errors(document),
    }


def out_of_date() -> list[Path]:
    """The pages that do not say what the code does."""
    return [path for path, text in reference_pages().items() if not path.exists() or path.read_text() != text]


def main(arguments: list[str]) -> int:
    """Write the pages, or check them."""
    if arguments == ["--check"]:
        late = [str(path.relative_to(DOCS.parent)) for path in out_of_date()]
        if late:
            sys.stderr.write(f"Out of date: {', '.join(late)}. Run make reference.\n")
        return 1 if late else 0
    for path, text in reference_pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
