"""The countries' calling codes, for the page's phone field: which country a number belongs to."""

from __future__ import annotations

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

DIAL_CODES: dict[str, str] = {
    str(code): " ".join(regions) for code, regions in COUNTRY_CODE_TO_REGION_CODE.items() if regions != ("001",)
}
"""By calling code, its regions (ISO 3166), the main one first: ``{"7": "RU KZ"}``."""
