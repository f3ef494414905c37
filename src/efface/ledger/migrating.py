"""Bringing the tables of a database to the form of this version (alembic)."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from efface.errors import InputError

FOLDER = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> None:
    """Make the tables, or change them to the form of this version, in one transaction."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def check_version(connection: Connection, place: Path) -> None:
    """Raise `InputError` unless the tables have the form of this version."""
    wanted = ScriptDirectory(str(FOLDER)).get_current_head()
    there = MigrationContext.configure(connection).get_current_revision()
    if there == wanted:
        return
    known = {script.revision for script in ScriptDirectory(str(FOLDER)).walk_revisions()}
    if there is None or there in known:
        what = "has no tables yet" if there is None else "was made by an older efface"
        raise InputError(f"the ledger's database {what}; bring it up to date: efface requests init {place}")
    raise InputError(f"the ledger's database was made by a newer efface (tables {there}); update efface")
