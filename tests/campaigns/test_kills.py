"""A command that is killed as it writes, renames or removes goes on, when given again, to what it would have made.

Short form: one kill at each place in the code, in a run that unlearns a generator. Long form: a kill at every single act
of each command.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from campaigns.errands import Errand, carry_out, unlike, what_lies_in
from campaigns.faults import Act

NAMES = ("unlearn generator", "unlearn classifier", "train", "bench classifiers", "bench generators")


@pytest.mark.parametrize("name", NAMES)
def test_a_command_killed_anywhere_goes_on_to_the_same_bits(
    name: str, errands: dict[str, Errand], long_form: bool, tmp_path: Path, tally: Callable[[str], None]
) -> None:
    if name != NAMES[0] and not long_form:
        pytest.skip("of the long form")
    errand, scratch = errands[name], tmp_path / "scratch"
    whole = carry_out(errand, _place(tmp_path, "whole"), scratch)
    assert whole.code == 0, whole.said
    wanted = what_lies_in(tmp_path / "whole" / "out")
    points = range(len(whole.acts)) if long_form else one_of_each_place(whole.acts)
    faults = []
    for at in points:
        out = _place(tmp_path, f"killed-{at}")
        killed, resumed = carry_out(errand, out, scratch, "kill", at), carry_out(errand, out, scratch)
        changed = unlike(wanted, what_lies_in(out)) if resumed.code == 0 else [resumed.said]
        left = [path.name for path in out.parent.rglob(".*") if path.name != ".lock"]
        beside = [path.name for path in out.parent.iterdir() if path != out]
        if killed.code != -signal.SIGKILL or changed or left or beside:
            faults.append((at, whole.acts[at], killed.code, changed, left, beside))
    places = len({act.place for act in whole.acts})
    tally(
        f"kills, {name}: {len(points)} points of {len(whole.acts)} acts at {places} places; "
        f"{len(points) - len(faults)} went on to the same bits"
    )
    assert not faults, "\n".join(map(str, faults))


def one_of_each_place(acts: Sequence[Act]) -> list[int]:
    """An act at each place in the code: from place to place another deed, where there are several."""
    turn, chosen = itertools.count(), []
    for place in dict.fromkeys(act.place for act in acts):
        each = {act.deed: number for number, act in enumerate(acts) if act.place == place}
        chosen.append(list(each.values())[next(turn) % len(each)])
    return chosen


def _place(folder: Path, name: str) -> Path:
    """`out` in a folder of its own, in which nothing else may be left."""
    (folder / name).mkdir()
    return folder / name / "out"
