"""The evidence of a request as one archive, and the checks of such an archive, with nothing else at hand.

It is a ZIP of stored files: the same bytes whenever nothing was changed. It holds the letter as long as the ledger keeps
it, the status, the events that name the request, and of each run its record, seal, figures, page and statement. No image,
and no name but in the letter; events name images by keyed ids. `archive.json` lists all files by digest.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from pydantic import Field, JsonValue
from sqlalchemy import select

from efface.documents import Described, parse_json, read_bytes
from efface.errors import InputError
from efface.files import canonical_json, json_text, replacing, sha256_of_bytes
from efface.ledger import events
from efface.ledger.opening import Ledger
from efface.ledger.requests import request_named
from efface.ledger.tables import Event, Request, Work
from efface.requests.answer import PAGE, STATUS, TEXT, events_of
from efface.runs.record import NAME as RECORD
from efface.runs.record import digest_of
from efface.runs.seal import NAME as SEAL
from efface.runs.signature import SUFFIX, check_public_key, checked, covered_file
from efface.runs.statement import NAME as STATEMENT
from efface.runs.statement import statement_of
from efface.runs.verification import Check
from efface.settings import validated
from efface.wording import printable

SCHEMA: Final = "efface-evidence/1"
LIST, EVENTS = "archive.json", "events.json"
LETTER, RUNS = "letter", "runs"
OF_RUN = (RECORD, SEAL, "results.json", "requirements.json", "verdict.json", "report.html")
"""What an archive holds of a run; its statement and signatures of its seal too."""
MOST = 256 << 20
MOST_FILES = 10_000
LONGEST = 200
EPOCH = (1980, 1, 1, 0, 0, 0)
ERASED = "it was erased, as the policy says; its digest stays"
HEAD_NOTE = "the head that stands in the letter; whoever holds the ledger can compare it"


class Link(events.EventFacts):
    """An event, and the digest of the one before it, so that its own can be computed."""

    before: str = Field(description="digest of the event before; empty before the first")


class Answer(Described):
    """An answer that was written, by the digests of its files."""

    number: int = Field(description="its number among the request's answers")
    head_number: int = Field(description="number of the event with which the chain ended when it was written")
    head_digest: str = Field(description="digest of that event, as in the letter")
    erased: bool = Field(description="whether its letter was erased before the archive was made")


class Archive(Described):
    """`archive.json`: what the archive is about, and the digest of each file in it."""

    schema_name: Literal["efface-evidence/1"] = Field(SCHEMA, alias="schema", description=f"`{SCHEMA}`")
    ledger: str = Field(description="id of the ledger")
    request: str = Field(description="id of the request")
    state: str = Field(description="its state")
    answers: list[Answer] = Field(description="the answers, oldest first")
    files: dict[str, str] = Field(description="sha256 of every other file, by name")
    digest: str = Field("", description="digest of everything above")


def export(ledger: Ledger, name: str, out: Path | None = None) -> Path:
    """Write the evidence of a request; returns where. out: default REQUEST.zip in the working folder.

    Raises `InputError` where no answer was written yet.
    """
    with ledger.reading() as session:
        request = request_named(session, name)
        if not request.answers:
            raise InputError(f"{request.id} has no answer yet: efface requests answer {request.id}")
        files = dict(_of_answers(ledger, request))
        links = [_link(session.get(Event, one.number - 1), one) for one in events_of(session, request)]
        files[EVENTS] = json_text([one.as_dict() for one in links]).encode()
        works = select(Work).where(Work.requests.any(Request.id == request.id)).order_by(Work.id)
        for work in session.scalars(works):
            files |= _of_run(ledger.place / work.run, f"{RUNS}/{work.id}")
        archive = Archive(
            ledger=events.head(session).ledger,
            request=request.id,
            state=request.state,
            answers=[
                Answer(
                    number=number,
                    head_number=one.head_number,
                    head_digest=one.head_digest,
                    erased=f"{LETTER}/{number}/{PAGE}" not in files,
                )
                for number, one in enumerate(request.answers, 1)
            ],
            files={file: sha256_of_bytes(data) for file, data in sorted(files.items())},
        )
        path = out or Path(f"{request.id}.zip")
    sealed = archive.model_copy(update={"digest": digest_of(archive.as_dict())})
    with replacing(path) as temporary:
        temporary.write_bytes(_zipped({LIST: json_text(sealed.as_dict()).encode(), **files}))
    return path


def verify_archive(path: Path, public_key: Path | None = None) -> list[Check]:
    """Every check of an archive, each with its outcome; raises `InputError` where it is none.

    public_key: by which signatures of seals are checked.
    """
    files = _unzipped(path)
    if LIST not in files:
        raise InputError(f"{path} is no evidence of a request: it holds no {LIST}")
    values = parse_json(files.pop(LIST), f"{path}: {LIST}")
    archive = validated(Archive, values if isinstance(values, dict) else {}, f"{path}: {LIST} is damaged")
    if public_key is not None:
        check_public_key(public_key)
        if not any(name.endswith(SUFFIX) for name in files):
            raise InputError(f"no *{SUFFIX} lies in {path}: there is nothing that a public key can check")
    return [
        _compared(f"{LIST} itself", archive.digest, digest_of(archive.as_dict())),
        *(
            _compared(name, archive.files.get(name), sha256_of_bytes(files[name]) if name in files else None)
            for name in sorted({*archive.files, *files})
        ),
        *_of_chain(archive, files),
        *(check for run in _runs(files) for check in _check_run(run, files, public_key)),
    ]


def _of_answers(ledger: Ledger, request: Request) -> Iterator[tuple[str, bytes]]:
    for number, one in enumerate(request.answers, 1):
        for name in (PAGE, TEXT, STATUS):
            file = ledger.place / one.folder / name
            if file.is_file():
                yield f"{LETTER}/{number}/{name}", file.read_bytes()


def _link(before: Event | None, event: events.EventFacts) -> Link:
    return Link(**dict(event), before=before.digest if before else "")


def _of_run(run: Path, folder: str) -> dict[str, bytes]:
    """What the archive holds of a run; nothing of one that is not finished."""
    if not (run / SEAL).is_file():
        return {}
    names = [name for name in OF_RUN if (run / name).is_file()]
    names += [file.name for file in sorted(run.glob(f"*{SUFFIX}")) if covered_file(file) == SEAL]
    files = {f"{folder}/{name}": (run / name).read_bytes() for name in names}
    return {**files, f"{folder}/{STATEMENT}": json_text(statement_of(run)).encode()}


def _zipped(files: Mapping[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o600 << 16
            archive.writestr(info, files[name])
    return data.getvalue()


def _unzipped(path: Path) -> dict[str, bytes]:
    """The files of an archive, in memory: nothing is written anywhere by its names."""
    data = read_bytes(path, MOST, "the archive")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            if len(members) > MOST_FILES or sum(member.file_size for member in members) > MOST:
                raise InputError(f"{path} is too large to be evidence of one request")
            if len(set(names)) < len(names) or any(map(_leaves, names)):
                raise InputError(f"{path} holds two files of one name, or a name that no such file has")
            return {member.filename: archive.read(member) for member in members}
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
        raise InputError(f"{path} is no archive that can be read: {printable(str(error))}") from None


def _leaves(name: str) -> bool:
    place = PurePosixPath(name)
    return place.is_absolute() or ".." in place.parts or place.as_posix() != name or len(name) > LONGEST


def _of_chain(archive: Archive, files: Mapping[str, bytes]) -> Iterator[Check]:
    """The events by their own digests, and what they say of the letters."""
    what = "events of the request"
    try:
        links = _links(files)
    except InputError as error:
        yield Check(what, "differs", "; ".join(error.problems))
        return
    wrong = [str(one.number) for one in links if _digest(one) != one.digest]
    wrong += [
        str(later.number)
        for one, later in pairwise(links)
        if later.number <= one.number or (later.number == one.number + 1 and later.before != one.digest)
    ]
    if wrong:
        yield Check(what, "differs", f"changed after they were written: {', '.join(wrong)}")
    else:
        yield Check(what, "matches", f"{len(links)}, each by its digest and the one before it")
    said = {one.ids.get("answer"): one for one in links if one.kind == "request-answered"}
    for answer in archive.answers:
        yield from _letter(answer, said.get(answer.number), files)
    states = [one.ids.get("after") for one in links if one.kind == "request-state"]
    if states:
        yield _compared("state of the request", archive.state, str(states[-1]))


def _digest(link: Link) -> str:
    """What the digest of an event must be."""
    event = Event(
        number=link.number, time=link.time, kind=link.kind, actor=link.actor, ids=canonical_json(link.ids)
    )
    return events.chained(event, link.before)


def _letter(answer: Answer, event: Link | None, files: Mapping[str, bytes]) -> Iterator[Check]:
    what = f"answer {answer.number}"
    if event is None:
        yield Check(what, "differs", "no event says that it was written")
        return
    for name in (PAGE, TEXT, STATUS):
        data = files.get(f"{LETTER}/{answer.number}/{name}")
        stated = event.ids.get(name.replace(".", "-"))
        if data is None and answer.erased:
            yield Check(f"{what}: {name}", "not checked", ERASED)
        elif data is None:
            yield Check(f"{what}: {name}", "differs", "it is gone")
        else:
            yield _compared(f"{what}: {name}", stated, sha256_of_bytes(data))
    yield _compared(f"{what}: head of the chain", event.ids.get("head"), answer.head_digest, HEAD_NOTE)


def _links(files: Mapping[str, bytes]) -> list[Link]:
    values = parse_json(files.get(EVENTS, b"[]"), EVENTS)
    entries = values if isinstance(values, list) else []
    return [
        validated(Link, entry if isinstance(entry, dict) else {}, f"{EVENTS}, entry {number}")
        for number, entry in enumerate(entries, 1)
    ]


def _runs(files: Mapping[str, bytes]) -> list[str]:
    return sorted({name.rpartition("/")[0] for name in files if name.startswith(f"{RUNS}/")})


def _check_run(run: str, files: Mapping[str, bytes], public_key: Path | None) -> Iterator[Check]:
    """A run's files against its seal and record, its statement, and signatures of the seal."""
    inside = {name.rpartition("/")[2]: data for name, data in files.items() if name.rpartition("/")[0] == run}
    record, seal = (_values(inside.get(name), f"{run}/{name}") for name in (RECORD, SEAL))
    for name, values in ((RECORD, record), (SEAL, seal)):
        yield _compared(f"{run}/{name} itself", values.get("digest"), digest_of(values))
    sealed = seal.get("files")
    listed = sealed if isinstance(sealed, dict) else {}
    for name in OF_RUN:
        if name in inside and name != SEAL:
            yield _compared(f"{run}/{name} as sealed", listed.get(name), sha256_of_bytes(inside[name]))
    statement = _values(inside.get(STATEMENT), f"{run}/{STATEMENT}")
    predicate = statement.get("predicate")
    stated = predicate if isinstance(predicate, dict) else {}
    named = {"name": SEAL, "digest": {"sha256": sha256_of_bytes(inside.get(SEAL, b""))}}
    agrees = stated.get("record") == record and stated.get("seal") == named and _subjects(statement, listed)
    yield Check(
        f"{run}/{STATEMENT}",
        "matches" if agrees else "differs",
        "" if agrees else "it is not that of record, seal and model",
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, data in inside.items():
            (Path(folder) / name).write_bytes(data)
        for name in sorted(name for name in inside if name.endswith(SUFFIX)):
            yield Check(f"{run}/{name}", *checked(Path(folder) / name, Path(folder), public_key))


def _subjects(statement: Mapping[str, JsonValue], listed: Mapping[str, JsonValue]) -> bool:
    """Whether a statement's subjects are files of the model that the seal lists."""
    subjects = statement.get("subject")
    return (
        bool(subjects)
        and isinstance(subjects, list)
        and all(
            isinstance(one, dict) and one.get("digest") == {"sha256": listed.get(f"model/{one.get('name')}")}
            for one in subjects
        )
    )


def _values(data: bytes | None, where: str) -> dict[str, JsonValue]:
    try:
        values = parse_json(data or b"{}", where)
    except InputError:
        return {}
    return values if isinstance(values, dict) else {}


def _compared(what: str, stated: JsonValue, there: JsonValue, detail: str = "") -> Check:
    if stated == there and stated:
        return Check(what, "matches", detail)
    if there is None:
        return Check(what, "differs", "the file is gone")
    if not stated:
        return Check(what, "differs", "nothing names it: it was added afterwards")
    return Check(what, "differs", f"stated {str(stated)[:16]}, found {str(there)[:16]}")
