"""What the hosted login page says, in each of its languages: ``texts/*.json``, one file per language.

A text that depends on a number is an object: the plural categories of its language (as ``Intl.PluralRules`` names them), each
with its sentence. The page chooses among them. ``{…}`` marks what the page fills in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

Texts = Mapping[str, str | Mapping[str, str]]

TEXTS: Mapping[str, Texts] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "texts").glob("*.json"))
}

LANGUAGES: Mapping[str, str] = {language: str(texts["language"]) for language, texts in TEXTS.items()}
"""By tag, what each language calls itself."""

FALLBACK = "en"
_RIGHT_TO_LEFT = frozenset({"ar", "fa"})
_OLD_TAGS = {"in": "id"}  # Java, and so Android for a long time, says Indonesian so


def choose_language(wanted: Iterable[str | None]) -> str:
    """Choose the first language that there are texts for.

    Args:
        wanted: language tags such as ``pt-BR`` (or ``pt_BR``), the most wanted one first; None: not said.

    Returns:
        Its tag in ``TEXTS``; English when there is none.
    """
    for tag in wanted:
        language = (tag or "").replace("_", "-").partition("-")[0].lower()
        language = _OLD_TAGS.get(language, language)
        if language in TEXTS:
            return language
    return FALLBACK


def is_right_to_left(language: str) -> bool:
    """Whether a language is written from right to left."""
    return language in _RIGHT_TO_LEFT
