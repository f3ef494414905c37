"""`efface train`"""

from __future__ import annotations

from pydantic import JsonValue

import efface.cli.options as o


@o.configured(
    "train",
    images="images",
    without="without",
    neutral="neutral",
    generator="generator",
    classifier="classifier",
    size=o.Setting("architecture.size", "tiny (default), small, base or large"),
    like="like",
    base=o.Setting("base", flag="--from"),
    keep_first_stage="keep_first_stage",
    budget="budget",
    earlier="earlier",
    ledger="ledger",
    erased="erased",
    seed="seed",
    duplicates="duplicates",
    skip_unreadable="skip_unreadable",
    device="device",
    keep_working_files="keep_working_files",
    exact="exact",
)
def train(values: dict[str, JsonValue], out: o.Out = None, json_: o.Json = False) -> None:
    """Train a model from fresh weights, or on from those of another (--from).

    For instance the reference: the same images --without those that are to be forgotten."""
    from efface.errors import InputError
    from efface.jobs.kinds import read_config
    from efface.progress import Progress

    if out is None:
        raise InputError("give the run folder with --out RUN")
    config = read_config("train", values)
    from efface.jobs.run import carry_out

    result = carry_out(config, out, Progress.on_terminal())
    if json_:
        o.show({"run": str(result.run), "model": str(result.model), "record": result.record.as_dict()})
    else:
        o.say(result.model)
