"""custody: backups, and keys that cannot be destroyed while needed.

Revision: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "encryption_keys",
        sa.Column(
            "openable_id",
            sa.Text(),
            sa.Computed("CASE WHEN (state <> 'destroyed'::text) THEN id ELSE NULL::text END", persisted=True),
            nullable=True,
        ),
    )
    op.create_unique_constraint(op.f("uq_encryption_keys_openable_id"), "encryption_keys", ["openable_id"])
    op.create_table(
        "backup_runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("backed_up", sa.Integer(), nullable=False),
        sa.Column("erased", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backup_runs")),
    )
    op.create_index(op.f("ix_backup_runs_finished_at"), "backup_runs", ["finished_at"], unique=False)
    op.create_table(
        "backup_objects",
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("backed_up_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["encryption_keys.openable_id"], name=op.f("fk_backup_objects_key_id_encryption_keys")
        ),
        sa.PrimaryKeyConstraint("object_key", name=op.f("pk_backup_objects")),
    )
    op.create_index("ix_backup_objects_key_id", "backup_objects", ["key_id"], unique=False)
    op.create_index(
        "ix_backup_objects_session_id_backed_up_at", "backup_objects", ["session_id", "backed_up_at"], unique=False
    )
    op.drop_index(op.f("ix_logins_key_id"), table_name="logins", postgresql_where="(key_id IS NOT NULL)")
    op.create_index(
        "ix_logins_key_id_id", "logins", ["key_id", "id"], unique=False, postgresql_where=sa.text("key_id IS NOT NULL")
    )
    op.drop_constraint(op.f("fk_logins_key_id_encryption_keys"), "logins", type_="foreignkey")
    op.create_foreign_key(
        op.f("fk_logins_key_id_encryption_keys"), "logins", "encryption_keys", ["key_id"], ["openable_id"]
    )
    op.drop_index(op.f("ix_sessions_key_id"), table_name="sessions")
    op.create_index(
        "ix_sessions_backup_due",
        "sessions",
        ["id"],
        unique=False,
        postgresql_where=sa.text("backed_up_version IS DISTINCT FROM version"),
    )
    op.create_index("ix_sessions_key_id_id", "sessions", ["key_id", "id"], unique=False)
    op.drop_constraint(op.f("fk_sessions_key_id_encryption_keys"), "sessions", type_="foreignkey")
    op.create_foreign_key(
        op.f("fk_sessions_key_id_encryption_keys"), "sessions", "encryption_keys", ["key_id"], ["openable_id"]
    )
    op.create_index("ix_webhook_endpoints_key_id_id", "webhook_endpoints", ["key_id", "id"], unique=False)
    op.drop_constraint(op.f("fk_webhook_endpoints_key_id_encryption_keys"), "webhook_endpoints", type_="foreignkey")
    op.create_foreign_key(
        op.f("fk_webhook_endpoints_key_id_encryption_keys"),
        "webhook_endpoints",
        "encryption_keys",
        ["key_id"],
        ["openable_id"],
    )


def downgrade() -> None:
    op.drop_constraint(op.f("fk_webhook_endpoints_key_id_encryption_keys"), "webhook_endpoints", type_="foreignkey")
    op.create_foreign_key(
        op.f("fk_webhook_endpoints_key_id_encryption_keys"), "webhook_endpoints", "encryption_keys", ["key_id"], ["id"]
    )
    op.drop_index("ix_webhook_endpoints_key_id_id", table_name="webhook_endpoints")
    op.drop_constraint(op.f("fk_sessions_key_id_encryption_keys"), "sessions", type_="foreignkey")
    op.create_foreign_key(op.f("fk_sessions_key_id_encryption_keys"), "sessions", "encryption_keys", ["key_id"], ["id"])
    op.drop_index("ix_sessions_key_id_id", table_name="sessions")
    op.drop_index(
        "ix_sessions_backup_due",
        table_name="sessions",
        postgresql_where=sa.text("backed_up_version IS DISTINCT FROM version"),
    )
    op.create_index(op.f("ix_sessions_key_id"), "sessions", ["key_id"], unique=False)
    op.drop_constraint(op.f("fk_logins_key_id_encryption_keys"), "logins", type_="foreignkey")
    op.create_foreign_key(op.f("fk_logins_key_id_encryption_keys"), "logins", "encryption_keys", ["key_id"], ["id"])
    op.drop_index("ix_logins_key_id_id", table_name="logins", postgresql_where=sa.text("key_id IS NOT NULL"))
    op.create_index(
        op.f("ix_logins_key_id"), "logins", ["key_id"], unique=False, postgresql_where="(key_id IS NOT NULL)"
    )
    op.drop_index("ix_backup_objects_session_id_backed_up_at", table_name="backup_objects")
    op.drop_index("ix_backup_objects_key_id", table_name="backup_objects")
    op.drop_table("backup_objects")
    op.drop_index(op.f("ix_backup_runs_finished_at"), table_name="backup_runs")
    op.drop_table("backup_runs")
    op.drop_constraint(op.f("uq_encryption_keys_openable_id"), "encryption_keys", type_="unique")
    op.drop_column("encryption_keys", "openable_id")
