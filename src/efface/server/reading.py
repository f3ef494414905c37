"""Reading the status of a request as fast as it can be: one prepared statement on one connection that the event loop keeps.

Only the event loop uses it, and only to read: readers of the ledger wait for nobody, so no other call waits for them. It
goes past SQLAlchemy, which takes longer for such a statement than the database does.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import PoolProxiedConnection, Select

from efface.ledger.opening import Ledger
from efface.ledger.requests import RequestFacts, told

PLACES = frozenset({5, 9, 10})
"""Of the times in a row of `efface.ledger.requests.COUNTED`: due, changed, answered."""


class StatusReader:
    """Reads what is told of a request, by a statement of `efface.ledger.requests` such as `BY_ID`."""

    def __init__(self, ledger: Ledger) -> None:
        self._engine = ledger.engine
        self._connection: PoolProxiedConnection | None = None
        self._texts: dict[int, tuple[str, list[str], dict[str, str]]] = {}

    def facts(self, statement: Select[*tuple[Any, ...]], **values: str) -> RequestFacts | None:
        """What the statement finds; None for nothing."""
        try:
            return self._read(statement, values)
        except self._engine.dialect.loaded_dbapi.Error:  # the database was restarted, perhaps
            self.close()
            return self._read(statement, values)

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection = None

    def _read(self, statement: Select[*tuple[Any, ...]], values: dict[str, str]) -> RequestFacts | None:
        is_sqlite = self._engine.dialect.name == "sqlite"
        if self._connection is None:
            self._connection = self._engine.raw_connection()
            if not is_sqlite:
                self._connection.driver_connection.autocommit = True  # type: ignore[union-attr]
        if id(statement) not in self._texts:
            dialect = type(self._engine.dialect)(paramstyle="qmark" if is_sqlite else "format")  # type: ignore[call-arg]
            compiled = statement.compile(dialect=dialect)
            self._texts[id(statement)] = str(compiled), compiled.positiontup or [], compiled.params
        text, order, fixed = self._texts[id(statement)]
        cursor = self._connection.cursor()
        try:
            cursor.execute(text, [values.get(name, fixed[name]) for name in order])
            row = cursor.fetchone()
        finally:
            cursor.close()
        if row is None:
            return None
        return told([_moment(value) if place in PLACES else value for place, value in enumerate(row)])


def _moment(value: str | datetime | None) -> datetime | None:
    """A time as the ledger's tables have it: SQLite keeps it as a text without a zone, in UTC."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value and value.astimezone(UTC)
