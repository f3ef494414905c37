"""A disk that fills stops a command with one sentence; with room again, the same command goes on to the same bits.

Twice: by the hook, which lets every act that needs room fail from a chosen one on; and on a file system of a few
kilobytes, where one may be mounted, because torch and safetensors write past Python.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from campaigns.errands import Ending, Errand, carry_out, unlike, what_lies_in
from campaigns.faults import NEED_ROOM

NAMES = ("unlearn generator", "unlearn classifier", "train", "bench classifiers", "bench generators")
ENDS = {3: "the folder could not be written at all", 4: "stopped"}
ROOM = "64m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`small_disk("400k")` is an empty file system of that size; with `keep`, a second call resizes it."""
    place, mounted = tmp_path / "disk", False
    place.mkdir()

    def unmount() -> None:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)

    def mount(size: str, keep: bool = False) -> Path:
        nonlocal mounted
        if not keep:
            unmount()
        options = f"size={size},remount" if keep else f"size={size}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=False, capture_output=True
        )
        if done.returncode:
            pytest.skip("no file system may be mounted here")
        mounted = True
        return place

    yield mount
    unmount()


def stops(ending: Ending) -> bool:
    """Whether the command ended with the sentence of a full disk, and no traceback."""
    return ending.code in ENDS and "No space left" in ending.said and "Traceback" not in ending.said


@pytest.mark.parametrize("name", NAMES)
def test_a_disk_that_fills_at_an_act_stops_the_command_and_it_goes_on(
    name: str, errands: dict[str, Errand], long_form: bool, tmp_path: Path, tally: Callable[[str], None]
) -> None:
    if name != NAMES[0] and not long_form:
        pytest.skip("of the long form")
    errand, scratch = errands[name], tmp_path / "scratch"
    whole = carry_out(errand, made(tmp_path / "whole"), scratch)
    wanted = what_lies_in(tmp_path / "whole" / "out")
    acts = [number for number, act in enumerate(whole.acts) if act.deed in NEED_ROOM]
    points = evenly(acts, 20 if long_form else 4)
    faults = []
    for at in points:
        out = made(tmp_path / str(at))
        ending = carry_out(errand, out, scratch, "full", at)
        resumed = carry_out(errand, out, scratch)
        changed = unlike(wanted, what_lies_in(out)) if resumed.code == 0 else [resumed.said]
        if not stops(ending) or changed:
            faults.append((at, whole.acts[at], ending.code, ending.said, changed))
    tally(
        f"full disks, {name}: {len(points)} acts; {len(points) - len(faults)} stopped and went on to the same bits"
    )
    assert not faults, "\n".join(map(str, faults))


def test_a_file_system_that_is_full_stops_a_run_and_more_room_continues_it(
    errands: dict[str, Errand],
    small_disk: Callable[..., Path],
    long_form: bool,
    tmp_path: Path,
    tally: Callable[[str], None],
) -> None:
    errand, scratch = errands[NAMES[0]], tmp_path / "scratch"
    carry_out(errand, made(tmp_path / "whole"), scratch)
    wanted = what_lies_in(tmp_path / "whole" / "out")
    kept = sum(path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file()) // 1024
    sizes = evenly(range(8, kept, 4), 20 if long_form else 4)
    faults = []
    for size in sizes:
        out = small_disk(f"{size}k") / "out"
        ending = carry_out(errand, out, scratch)
        small_disk(ROOM, keep=True)
        resumed = carry_out(errand, out, scratch)
        changed = unlike(wanted, what_lies_in(out)) if resumed.code == 0 else [resumed.said]
        if not stops(ending) or changed:
            faults.append((f"{size} KiB", ending.code, ending.said, changed))
    tally(
        f"full file systems, {NAMES[0]}: {len(sizes)} sizes of {sizes[0]} to {sizes[-1]} KiB; "
        f"{len(sizes) - len(faults)} stopped and went on to the same bits"
    )
    assert not faults, "\n".join(map(str, faults))


def made(folder: Path) -> Path:
    """`out` in a new folder."""
    folder.mkdir()
    return folder / "out"


def evenly(values: range | list[int], count: int) -> list[int]:
    """`count` of the values, from the first to the last."""
    return [values[round(place * (len(values) - 1) / (count - 1))] for place in range(count)]
