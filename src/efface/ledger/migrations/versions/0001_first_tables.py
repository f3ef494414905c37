"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("time", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("ids", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_events")),
        sa.UniqueConstraint("digest", name=op.f("uq_events_digest")),
    )
    op.create_table(
        "head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("ledger", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_head")),
    )
    op.create_table(
        "image_sets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("added", sa.DateTime(timezone=True), nullable=False),
        sa.Column("indexed", sa.DateTime(timezone=True), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image_sets")),
        sa.UniqueConstraint("name", name=op.f("uq_image_sets_name")),
    )
    op.create_table(
        "model_versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("section", sa.Text(), nullable=False),
        sa.Column("weights", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("family", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("added", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["model_versions.id"], name=op.f("fk_model_versions_parent_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("name", name=op.f("uq_model_versions_name")),
        sa.UniqueConstraint("weights", name=op.f("uq_model_versions_weights")),
    )
    op.create_index(op.f("ix_model_versions_parent_id"), "model_versions", ["parent_id"], unique=False)
    op.create_table(
        "requests",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("sender_id", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("taken_in", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_as", sa.Text(), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=False),
        sa.Column("regime", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("changed", sa.DateTime(timezone=True), nullable=False),
        sa.Column("located_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("answered", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_requests")),
        sa.UniqueConstraint("number", name=op.f("uq_requests_number")),
        sa.UniqueConstraint("sender", "sender_id", name=op.f("uq_requests_sender_sender_id")),
    )
    op.create_index(
        "ix_requests_open",
        "requests",
        ["number"],
        unique=False,
        sqlite_where=sa.text("state NOT IN ('done', 'not-found', 'refused', 'withdrawn')"),
        postgresql_where=sa.text("state NOT IN ('done', 'not-found', 'refused', 'withdrawn')"),
    )
    op.create_index(op.f("ix_requests_state_number"), "requests", ["state", "number"], unique=False)
    op.create_index(
        "ix_requests_unanswered",
        "requests",
        ["due", "number"],
        unique=False,
        sqlite_where=sa.text("answered IS NULL AND state != 'withdrawn'"),
        postgresql_where=sa.text("answered IS NULL AND state != 'withdrawn'"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("verify_key", sa.Text(), nullable=True),
        sa.Column("added", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
        sa.UniqueConstraint("name", name=op.f("uq_tokens_name")),
    )
    op.create_table(
        "answers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("head_number", sa.Integer(), nullable=False),
        sa.Column("head_digest", sa.Text(), nullable=False),
        sa.Column("written", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_answers_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_answers")),
    )
    op.create_index(op.f("ix_answers_request_id"), "answers", ["request_id"], unique=False)
    op.create_table(
        "callbacks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=True),
        sa.Column("told", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_callbacks_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_callbacks")),
        sa.UniqueConstraint("request_id", "url", name=op.f("uq_callbacks_request_id_url")),
    )
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_decisions_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
    )
    op.create_index(op.f("ix_decisions_request_id"), "decisions", ["request_id"], unique=False)
    op.create_table(
        "erased",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("keyed", sa.Text(), nullable=False),
        sa.Column("masked", sa.LargeBinary(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("added", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_erased_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erased")),
        sa.UniqueConstraint("keyed", name=op.f("uq_erased_keyed")),
    )
    op.create_index(op.f("ix_erased_request_id"), "erased", ["request_id"], unique=False)
    op.create_table(
        "model_sets",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("set_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model_versions.id"], name=op.f("fk_model_sets_model_id")),
        sa.ForeignKeyConstraint(["set_id"], ["image_sets.id"], name=op.f("fk_model_sets_set_id")),
        sa.PrimaryKeyConstraint("model_id", "set_id", name=op.f("pk_model_sets")),
    )
    op.create_table(
        "personal_files",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("contact", sa.Text(), nullable=True),
        sa.Column("letter", sa.Text(), nullable=True),
        sa.Column("erased", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_personal_files_request_id")),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_personal_files")),
    )
    op.create_table(
        "set_images",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("set_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("keyed", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["set_id"], ["image_sets.id"], name=op.f("fk_set_images_set_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_set_images")),
        sa.UniqueConstraint("set_id", "path", name=op.f("uq_set_images_set_id_path")),
    )
    op.create_index(op.f("ix_set_images_digest"), "set_images", ["digest"], unique=False)
    op.create_index(op.f("ix_set_images_keyed"), "set_images", ["keyed"], unique=False)
    op.create_table(
        "supplied_images",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("keyed", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("erased", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_supplied_images_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_supplied_images")),
        sa.UniqueConstraint("request_id", "keyed", name=op.f("uq_supplied_images_request_id_keyed")),
    )
    op.create_table(
        "work",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("begun", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended", sa.DateTime(timezone=True), nullable=True),
        sa.Column("made_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["made_id"], ["model_versions.id"], name=op.f("fk_work_made_id")),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name=op.f("fk_work_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_work")),
    )
    op.create_index(op.f("ix_work_made_id"), "work", ["made_id"], unique=False)
    op.create_index(op.f("ix_work_version_id"), "work", ["version_id"], unique=False)
    op.create_table(
        "located_images",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("supplied_id", sa.Integer(), nullable=True),
        sa.Column("how", sa.Text(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["image_id"], ["set_images.id"], name=op.f("fk_located_images_image_id")),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_located_images_request_id")),
        sa.ForeignKeyConstraint(
            ["supplied_id"], ["supplied_images.id"], name=op.f("fk_located_images_supplied_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_located_images")),
        sa.UniqueConstraint("request_id", "image_id", name=op.f("uq_located_images_request_id_image_id")),
    )
    op.create_index(op.f("ix_located_images_image_id"), "located_images", ["image_id"], unique=False)
    op.create_index(op.f("ix_located_images_supplied_id"), "located_images", ["supplied_id"], unique=False)
    op.create_table(
        "work_requests",
        sa.Column("work_id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_work_requests_request_id")),
        sa.ForeignKeyConstraint(["work_id"], ["work.id"], name=op.f("fk_work_requests_work_id")),
        sa.PrimaryKeyConstraint("work_id", "request_id", name=op.f("pk_work_requests")),
    )
    op.create_index(op.f("ix_work_requests_request_id"), "work_requests", ["request_id"], unique=False)
