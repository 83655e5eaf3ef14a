"""retention: indexes for what is pruned by age; idempotency keys are hashed under the installation's secret.

Idempotency keys live for a day: those from before are dropped, so that a call repeated over this migration is a new one.

Revision: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM idempotency_keys")
    op.drop_constraint("pk_idempotency_keys", "idempotency_keys", type_="primary")
    op.drop_column("idempotency_keys", "key")
    op.add_column("idempotency_keys", sa.Column("key_hash", sa.LargeBinary(), nullable=False))
    op.create_primary_key("pk_idempotency_keys", "idempotency_keys", ["tenant_id", "key_hash"])
    op.create_index("ix_idempotency_keys_login_id", "idempotency_keys", ["login_id"])
    op.create_index(
        "ix_logins_finished_at", "logins", ["finished_at"], postgresql_where=sa.text("finished_at IS NOT NULL")
    )
    op.create_index(
        "ix_logins_session_id", "logins", ["session_id"], postgresql_where=sa.text("session_id IS NOT NULL")
    )
    op.create_index("ix_audit_events_at", "audit_events", ["at"])
    op.create_index("ix_webhook_outbox_created_at", "webhook_outbox", ["created_at"])
    op.drop_column("logins", "client_address")


def downgrade() -> None:
    op.add_column("logins", sa.Column("client_address", sa.Text(), nullable=True))
    op.drop_index("ix_webhook_outbox_created_at", table_name="webhook_outbox")
    op.drop_index("ix_audit_events_at", table_name="audit_events")
    op.drop_index("ix_logins_session_id", table_name="logins")
    op.drop_index("ix_logins_finished_at", table_name="logins")
    op.drop_index("ix_idempotency_keys_login_id", table_name="idempotency_keys")
    op.execute("DELETE FROM idempotency_keys")
    op.drop_constraint("pk_idempotency_keys", "idempotency_keys", type_="primary")
    op.drop_column("idempotency_keys", "key_hash")
    op.add_column("idempotency_keys", sa.Column("key", sa.Text(), nullable=False))
    op.create_primary_key("pk_idempotency_keys", "idempotency_keys", ["tenant_id", "key"])
