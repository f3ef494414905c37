"""A ledger on each database: SQLite, and PostgreSQL where EFFACE_TEST_POSTGRESQL names one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from efface.ledger import opening
from efface.ledger.opening import Ledger
from support.command_line import cli

__all__ = ["cli"]

SERVER = os.environ.get("EFFACE_TEST_POSTGRESQL", "")


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connections of all ledgers that a test opens are closed at its end."""
    engines: list[Engine] = []

    def remembered(*arguments: Any, **options: Any) -> Engine:
        engines.append(create_engine(*arguments, **options))
        return engines[-1]

    monkeypatch.setattr(opening, "create_engine", remembered)
    yield
    for engine in engines:
        engine.dispose()


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty database of the kind that the test is parametrised with, SQLite else."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield "sqlite:///ledger.db"
        return
    if not SERVER.startswith("postgresql:"):
        assert SERVER != "required", "CI has no PostgreSQL: see .ci/postgresql"
        pytest.skip("EFFACE_TEST_POSTGRESQL names no server")
    server = create_engine(
        SERVER.replace("postgresql:", "postgresql+psycopg:", 1), isolation_level="AUTOCOMMIT"
    )
    name = f"efface_{uuid.uuid4().hex[:12]}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield f"{SERVER.rpartition('/')[0]}/{name}"
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture
def ledger(tmp_path: Path, database: str) -> Ledger:
    """An empty ledger."""
    return Ledger.create(tmp_path / "ledger", database, "ada")


BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
