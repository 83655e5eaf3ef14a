"""What everybody in a run shares: the stack, the tenant's way to it, what is written down."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.field import Field
from chaos.record import Records
from chaos.tenant import Tenant


@dataclass(frozen=True)
class Scene:
    """See the module."""

    field: Field
    tenant: Tenant
    records: Records

    def tell(self, person: str, text: str) -> None:
        """Add a line about somebody to the story."""
        self.field.story.tell(text, about=person)
