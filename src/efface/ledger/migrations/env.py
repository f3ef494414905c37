"""What alembic runs: migrations over a connection that `migrating.migrate` gives."""

from alembic import context

from efface.ledger.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
