"""events have a position, given out after their commit: what a stream of them goes by.

Revision: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SEQUENCE event_positions AS bigint")
    op.add_column("webhook_outbox", sa.Column("position", sa.BigInteger(), nullable=True))
    op.execute("UPDATE webhook_outbox SET position = seq")
    op.execute("SELECT setval('event_positions', max(seq)) FROM webhook_outbox HAVING max(seq) IS NOT NULL")
    op.create_index("ix_webhook_outbox_tenant_id_position", "webhook_outbox", ["tenant_id", "position"])
    op.create_index(
        "ix_webhook_outbox_without_position",
        "webhook_outbox",
        ["seq"],
        postgresql_where=sa.text("position IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_webhook_outbox_without_position", table_name="webhook_outbox")
    op.drop_index("ix_webhook_outbox_tenant_id_position", table_name="webhook_outbox")
    op.drop_column("webhook_outbox", "position")
    op.execute("DROP SEQUENCE event_positions")
