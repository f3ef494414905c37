"""A run's model handed to the hub: looked through first, and sent only when that is asked for.

What goes is the folder `model/` as its record lists it, with its card and signatures, and the record where that is asked
for. Manifests, results by image, config, log and key stay.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from efface.errors import EffaceError, InputError, Mismatch, RequirementsNotMet, Stopped
from efface.files import refuse_absent
from efface.reports.anew import check_texts
from efface.reports.card import NAME as CARD
from efface.runs.record import NAME as RECORD
from efface.runs.record import Record, read_record
from efface.runs.seal import is_sealed
from efface.runs.verification import verify
from efface.wording import counted, several

if TYPE_CHECKING:
    from huggingface_hub import HfApi

HUB = "hub:"
REPOSITORY = re.compile(r"\w[\w.-]{0,95}/\w([\w.-]{0,94}\w)?", re.ASCII)
MESSAGE = "Model made by efface"


@dataclass(frozen=True)
class Parcel:
    """What would be sent, and where to. sizes: bytes of each file by its name there. remarks: what to know of it."""

    run: Path
    repository: str
    public: bool
    sizes: dict[str, int]
    card: str
    remarks: list[str] = field(default_factory=list)

    @property
    def of_model(self) -> list[str]:
        return [name for name in self.sizes if name != RECORD]


def parcel(run: Path, to: str, public: bool = False, with_record: bool = False) -> Parcel:
    """What a push of `run` to `to`, written `hub:owner/name`, would send.

    Raises `InputError` where the run is not finished or made no model, or `to` is no name, `RequirementsNotMet` where the
    model is ruined, and `Mismatch` where verification finds that anything differs.
    """
    repository = _repository(to)
    refuse_absent(run)
    if not is_sealed(run):
        raise InputError(
            f"{run} is no finished run: there is no seal.json. Give the command that began it once more, and push then"
        )
    record = read_record(run)
    if record.model.after is None:
        raise InputError(f"{run} compared models and made none: there is nothing to push")
    if record.verdict and record.verdict.word == "ruined":
        raise RequirementsNotMet(
            f"the model in {run} is ruined, and is not handed out. {record.verdict.reason}"
        )
    _refuse_changed(run)
    model = run / "model"
    names = {*record.model.after.files, Path(CARD).name, *(path.name for path in model.glob("*.sig"))}
    if absent := sorted(name for name in names if not (model / name).is_file()):
        raise InputError(f"{model} no longer holds {several(absent)}: put the model back where its run lies")
    sizes = {name: (model / name).stat().st_size for name in sorted(names)}
    if with_record:
        sizes[RECORD] = (run / RECORD).stat().st_size
    card = (run / CARD).read_text(encoding="utf-8")
    return Parcel(run, repository, public, sizes, card, list(_remarks(record, with_record)))


def send(parcel: Parcel, api: HfApi | None = None) -> str:
    """Make the repository where it is missing and send the files; returns its address.

    api: the hub's own unless given. Raises `InputError` where the repository is public and that was not asked for, and
    `Stopped` for what the hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    hub, name = api or HfApi(), parcel.repository
    try:
        try:
            there = hub.model_info(name)
        except RepositoryNotFoundError:
            hub.create_repo(name, private=not parcel.public, repo_type="model")
        else:
            if not there.private and not parcel.public:
                raise InputError(
                    f"{HUB}{name} is public: say --public to send the model there, or make it private first"
                )
        commit = hub.upload_folder(
            repo_id=name,
            folder_path=parcel.run / "model",
            allow_patterns=parcel.of_model,
            commit_message=MESSAGE,
            repo_type="model",
        )
        if RECORD in parcel.sizes:
            hub.upload_file(
                path_or_fileobj=parcel.run / RECORD,
                path_in_repo=RECORD,
                repo_id=name,
                repo_type="model",
                commit_message=f"{MESSAGE}: its record",
            )
    except EffaceError:
        raise
    # whatever the client and the connection behind it may raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise Stopped(
            f"{HUB}{name} was not reached, or refused it: {reason}. The same command tries once more"
        ) from None
    return str(getattr(commit, "commit_url", f"{HUB}{name}"))


def _repository(to: str) -> str:
    name = to.removeprefix(HUB)
    if not to.startswith(HUB) or not REPOSITORY.fullmatch(name) or "--" in name or ".." in name:
        raise InputError(f"'{to}' names no repository: write it as hub:owner/name")
    return name


def _refuse_changed(run: Path) -> None:
    checks = verify(run, source_model=False)
    checks += check_texts(run, checks)
    if differing := [check for check in checks if not check.passed]:
        raise Mismatch(
            f"{run} does not pass efface verify, so nothing of it is sent: "
            f"{several([check.what for check in differing])}. `efface verify {run}` says how each differs"
        )


def _remarks(record: Record, with_record: bool) -> list[str]:
    told = []
    after = record.model.after
    if after and after.description.classes:
        told.append(
            f"config.json names the model's {counted(after.description.classes, 'class', 'classes')}: whoever may read the "
            "repository reads these names"
        )
    if with_record:
        told.append(
            "record.json holds digests, counts and what the operator stated of the request; no image, no name of a file, "
            "and no keyed id: these stand in manifests and results, which stay"
        )
    else:
        told.append("the record stays (--with-record sends it): whoever gets the model alone has its card")
    if record.requirements:
        told += [
            f"{one.requirement}: {one.state}" for one in record.requirements.outcomes if one.state != "met"
        ]
    return told
