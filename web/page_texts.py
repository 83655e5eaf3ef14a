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
