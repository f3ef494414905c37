"""`efface plan`"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

import efface.cli.options as o
from efface.cli.unlearn import SETTINGS
from efface.wording import counted, magnitude

if TYPE_CHECKING:
    from efface.jobs.plan import Plan

SHOWN_PASSES = 6


@o.configured("unlearn", **SETTINGS)
def plan(values: dict[str, JsonValue], json_: o.Json = False) -> None:
    """Say what is wrong or risky, and what it would cost.

    Takes the options of unlearn. Exit code 2 if the run could not start.
    """
    from efface.errors import InputError
    from efface.jobs.kinds import read_config
    from efface.progress import Progress

    config = read_config("unlearn", values)
    from efface.jobs.plan import plan as outlook_of

    outlook = outlook_of(config, Progress.on_terminal())
    if json_:
        o.show(outlook.as_dict())
    else:
        _tell(outlook)
    if outlook.faults:
        raise InputError("this run cannot start; every fault found is listed above")


def _tell(outlook: Plan) -> None:
    for heading, lines in (("faults", outlook.faults), ("risks", outlook.risks), ("notes", outlook.notes)):
        if lines:
            o.say(f"{heading}:")
            for line in lines:
                o.say(f"  - {line}")
    if outlook.model:
        model = outlook.model
        what = model.family or f"{model.network}, {model.classes} classes"
        o.say(f"model: {what}, {model.image_size} px, {magnitude(model.parameters)} parameters")
    if outlook.device:
        o.say(f"device: {outlook.device}")
    if outlook.changes:
        o.say(outlook.changes.words)
    if outlook.sets:
        o.say("sets: " + ", ".join(f"{name} {count}" for name, count in outlook.sets.items()))
    if outlook.estimate and outlook.changes:
        e = outlook.estimate
        o.say(
            f"training: {counted(e.steps, 'step')} of {e.seconds_per_step:.3g} s = {_time(e.training_seconds)}, "
            f"{outlook.changes.precision}\n"
            f"evaluation: about {_time(e.evaluation_seconds)}\n"
            f"memory: {e.peak_memory_bytes / 2**30:.1f} GiB at the peak of the steps and answers that were tried\n"
            f"disk: {e.disk_bytes / 2**30:.2f} GiB while it runs, {e.disk_kept_bytes / 2**30:.2f} GiB afterwards"
        )


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
