"""What the hosted login page says, in each of its languages: ``texts/*.json``, one file per language.

A key that ends in a plural category (``attempts_few``) is chosen by the page, by the rules of its language.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

TEXTS: Mapping[str, Mapping[str, str]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "texts").glob("*.json"))
}

LANGUAGES: Mapping[str, str] = {language: texts["language"] for language, texts in TEXTS.items()}
"""By tag, what each language calls itself."""

_RIGHT_TO_LEFT = frozenset({"ar", "fa", "he", "ur"})


def is_right_to_left(language: str) -> bool:
    """Whether a language is written from right to left."""
    return language in _RIGHT_TO_LEFT
