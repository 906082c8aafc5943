"""Alembic's entry: migrate on the connection that upgrade() holds, inside its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
