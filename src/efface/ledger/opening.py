"""Making and opening a ledger: a folder with `efface.toml`, and the database that it names.

    ledger = Ledger.open()
    with ledger.session() as session:
        ...

What a verb changes, its events included, is one transaction of `session`: a kill leaves all of it or nothing. Writers
wait for each other, so that the chain of events never forks; readers do not wait.
"""

from __future__ import annotations

import os
import threading
import tomllib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from efface.documents import Absent, read_object, read_text
from efface.errors import EffaceError, InputError, Mismatch, Stopped
from efface.files import private_files, write_json, write_text
from efface.ledger import events, keys
from efface.ledger.events import HeadFacts
from efface.ledger.migrating import check_version, migrate
from efface.ledger.policy import Policy, policy_text, read_policy
from efface.ledger.tables import Event, Head
from efface.settings import Settings, validated
from efface.wording import printable

CONFIG = "efface.toml"
HEAD = "head.json"
"""Where the chain ended when this ledger was last written to."""
VARIABLE = "EFFACE_LEDGER"
REMEMBERING = threading.Lock()
"""Held by the thread that writes the head: those of a server share the name of a file that is half written."""
WAIT = 60.0
"""Seconds that a writer waits for another one."""
TEXT = """\
# An efface ledger. Places are relative to this file.
# database: sqlite:///FILE, or postgresql://USER@HOST/NAME (needs: pip install 'efface[postgresql]')
database = "{database}"
key = "ledger.key"
policy = "policy.yaml"
"""


class LedgerSettings(Settings):
    """What `efface.toml` says."""

    database: str = Field("sqlite:///ledger.db", description="URL of the database: SQLite or PostgreSQL")
    key: str = Field("ledger.key", description="the file with the key of keyed ids")
    policy: str = Field("policy.yaml", description="the file with the policy")


@dataclass(frozen=True)
class Ledger:
    """An open ledger. key: of keyed ids; policy: as it stands in its file."""

    place: Path
    settings: LedgerSettings
    policy: Policy
    key: bytes
    engine: Engine

    @classmethod
    def create(cls, place: Path, database: str | None = None, actor: str = "efface") -> Self:
        """Make a ledger in a folder, or bring the tables of the one that lies there up to date.

        database: its URL, else an SQLite file in the folder. Raises `InputError` where another database is named already.
        """
        place = place.absolute()
        config = place / CONFIG
        if config.exists():
            if database and database != (named := _read_config(config).database):
                raise InputError(
                    f"{config} names the database {_shown(named)}; leave --database out, or mend that file"
                )
        else:
            named = LedgerSettings.read(
                {"database": database} if database else {}, where="the ledger"
            ).database
            with _said(named):
                _engine(place, named).dispose()
        with private_files():
            for folder in (place, *(place / name for name in ("uploads", "runs", "answers"))):
                folder.mkdir(parents=True, exist_ok=True)
        # the config comes last: a folder is a ledger from here on
        if not config.exists():
            if not (place / "ledger.key").exists():
                keys.write_key(place / "ledger.key", keys.new_key())
            if not (place / "policy.yaml").exists():
                write_text(place / "policy.yaml", policy_text(Policy()))
            write_text(config, TEXT.format(database=named.replace("\\", "\\\\").replace('"', '\\"')))
        settings = _read_config(config)
        with private_files(), _said(settings.database):
            engine = _engine(place, settings.database)
            migrate(engine)
            key = keys.read_key(place / settings.key)
            ledger = cls(place, settings, read_policy(place / settings.policy), key, engine)
            with ledger.session(made=True) as session:
                if session.get(Head, 1) is None:
                    known = keys.commitment(key)
                    session.add(Head(id=1, ledger=str(uuid.uuid4()), number=0, digest="", key=known))
                    session.flush()
                    events.append(session, "ledger-made", actor, ledger=events.head(session).ledger)
        return ledger

    @classmethod
    def open(cls, place: Path | None = None) -> Self:
        """The ledger in a folder; default: of the environment's EFFACE_LEDGER, else in this folder or one above it.

        Raises `InputError` where there is none, its files are damaged, or its database cannot be reached.
        """
        place = (place or _of_environment() or _above(Path.cwd())).absolute()
        config = place / CONFIG
        if not config.is_file():
            raise InputError(
                f"{printable(str(place))} is no ledger: it has no {CONFIG}. Make one: efface requests init {place}"
            )
        settings = _read_config(config)
        with _said(settings.database):
            engine = _engine(place, settings.database)
            with reading(engine).connect() as connection:
                check_version(connection, place)
            with Session(reading(engine)) as session:
                head = events.head(session)
                key = keys.key_of(place / settings.key, head.key)
                _refuse_restored(session, place / HEAD)
        return cls(place, settings, read_policy(place / settings.policy), key, engine)

    @classmethod
    def given(cls, place: Path | None) -> Self | None:
        """The ledger of an option, else of the environment; None where neither names one."""
        place = place or _of_environment()
        return cls.open(place) if place else None

    @property
    def key_file(self) -> Path:
        """Where the key lies."""
        return self.place / self.settings.key

    @property
    def uploads(self) -> Path:
        """Where supplied photos lie until they are erased."""
        return self.place / "uploads"

    @property
    def runs(self) -> Path:
        """Where the runs of `efface requests run` lie."""
        return self.place / "runs"

    @property
    def answers(self) -> Path:
        """Where answers lie."""
        return self.place / "answers"

    def keyed(self, digest: str) -> str:
        """The keyed id of an image by its sha256 (hex)."""
        return keys.keyed_id(self.key, digest)

    @contextmanager
    def session(self, made: bool = False) -> Iterator[Session]:
        """A transaction that writes: committed at the end of the block, undone where it raises.

        made: the ledger is being made, and has no chain to lock.
        """
        with (
            _said(self.settings.database),
            Session(self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            if not made and events.head_row(session).key != keys.commitment(self.key):
                raise Stopped("the key of this ledger was rotated meanwhile; start this command anew")
            yield session
            # whoever took all back has written nothing
            end = events.head(session) if session.in_transaction() else None
        if end is not None:
            _remember(self.place / HEAD, end)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that only reads: one state of the ledger, whatever others write meanwhile."""
        with _said(self.settings.database), Session(reading(self.engine)) as session:
            yield session

    def flush(self) -> None:
        """Let nothing that was erased outlive in the log of writes."""
        if self.engine.dialect.name == "sqlite":
            with self.engine.connect() as connection:
                driver = connection.connection.driver_connection
                connection.rollback()
                if driver is not None:
                    driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _remember(place: Path, end: HeadFacts) -> None:
    """Keep the head beside the database, by which an older state of that is known."""
    with REMEMBERING:
        known = _remembered(place)
        # a thread that ended later may have written already
        if known is None or known.ledger != end.ledger or known.number < end.number:
            write_json(place, end.as_dict())


def _remembered(place: Path) -> HeadFacts | None:
    try:
        return validated(HeadFacts, read_object(place), f"{place} cannot be read")
    except Absent:
        return None


def _refuse_restored(session: Session, place: Path) -> None:
    """Raise `Mismatch` where the database has not come as far as it had, or another way."""
    known = _remembered(place)
    if known is None:
        return
    event = session.get(Event, known.number)
    if event is None or event.digest != known.digest:
        raise Mismatch(
            f"this database is not the one that this ledger had: event {known.number}, which was its last, is missing or "
            f"another. It was restored from an older copy, and what came later is lost, answers included. Restore a newer "
            f"copy; to go on with this one all the same, remove {place}"
        )


def reading(engine: Engine) -> Engine:
    """The same connections for transactions that only read, each seeing one state."""
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine.execution_options(reading=True)


def _of_environment() -> Path | None:
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def _above(folder: Path) -> Path:
    for place in (folder, *folder.parents):
        if (place / CONFIG).is_file():
            return place
    raise InputError(
        f"no ledger is named, and none lies in this folder or above it: give --ledger DIR or set {VARIABLE}. "
        "Make one: efface requests init DIR"
    )


def _read_config(config: Path) -> LedgerSettings:
    try:
        values = tomllib.loads(read_text(config))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{config} cannot be read: {error}") from None
    return LedgerSettings.read(values, where=str(config))


def _engine(place: Path, database: str) -> Engine:
    """What opens connections; none is opened yet. Raises `InputError` for a URL that is none."""
    try:
        url = make_url(database)
    except ArgumentError:
        raise InputError(
            f"{_shown(database)} is no URL of a database: sqlite:///ledger.db, postgresql://USER@HOST/NAME"
        ) from None
    if url.get_backend_name() == "sqlite":
        return _sqlite(place, url)
    if url.get_backend_name() == "postgresql":
        waits = {"options": f"-c lock_timeout={WAIT:.0f}s"}
        return create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True, connect_args=waits)
    raise InputError(
        f"databases of the kind {url.get_backend_name()} are not supported: take sqlite or postgresql"
    )


def _sqlite(place: Path, url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise InputError("the database has no file: write sqlite:///ledger.db")
    engine = create_engine(url.set(database=str(place / url.database)), connect_args={"timeout": WAIT})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """Transactions are begun by `_begin_sqlite`; what is deleted is overwritten; a commit outlives a power cut."""
    connection.isolation_level = None
    cursor = connection.cursor()
    # where a file system cannot have a write-ahead log, SQLite keeps to its journal
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _shown(database: str) -> str:
    """A database's URL without its password."""
    try:
        return make_url(database).render_as_string(hide_password=True)
    except ArgumentError:
        return printable(database.partition("@")[2] or database)


@contextmanager
def _said(database: str) -> Iterator[None]:
    """Errors of the database, said to the person at the keyboard."""
    try:
        yield
    except OperationalError as error:
        raise _of_database(error, database) from None


def _of_database(error: DBAPIError, database: str) -> EffaceError:
    reason = printable(str(error.orig).strip().partition("\n")[0])
    if "locked" in reason or "lock timeout" in reason:
        return Stopped(
            f"stopped: another process has been writing into {_shown(database)} for long; try later"
        )
    if "full" in reason or "No space" in reason:
        return Stopped(f"stopped: {_shown(database)}: {reason}. Nothing of this command was kept")
    return InputError(f"the ledger's database {_shown(database)} cannot be used: {reason}")
