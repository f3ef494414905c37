"""Whether this tree gives what an earlier commit gave: `python tests/goldens/compare.py BASE [--only NAME ...]`.

The golden runs (`runs.py`) are carried out in BASE, checked out beside, and in this working tree, on one thread each. All
that they leave behind is compared value by value, but for times, the machine, and random keys. Differences that are meant
stand in `explained.yaml`, each with its reason. Exit code 0 where nothing else differs, 1 otherwise.

With `--keep DIR` the runs stay there, and those of BASE are taken from there the next time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import inputs
import yaml
from readers import Facts, Value, facts_of

from runs import OLD_WORDS, Run, chosen

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PRINTED = 60
"""Places that are printed unless all are wanted."""


@dataclass(frozen=True)
class Moved:
    """Facts that have another place now: `pattern`, a regular expression, becomes `to`; their values are compared."""

    pattern: str
    to: str
    reason: str


@dataclass(frozen=True)
class Changed:
    """Facts that may differ: `pattern` is a regular expression for `RUN/PLACE`.

    within: they may differ by this share of their value and no more. only: gone, new or changed facts alone.
    """

    pattern: str
    reason: str
    within: float | None = None
    only: str | None = None


@dataclass(frozen=True)
class Difference:
    """A fact that is not the same in both trees; None for a side that lacks it."""

    place: str
    kind: str
    before: Value
    after: Value

    def __str__(self) -> str:
        sides = {"gone": f"{self.before!r} is gone", "new": f"new: {self.after!r}"}
        return f"{self.place}  {sides.get(self.kind, f'{self.before!r} -> {self.after!r}')}"

    def allowed_by(self, rule: Changed) -> bool:
        if not re.search(rule.pattern, self.place) or rule.only not in (None, self.kind):
            return False
        return rule.within is None or close(self.before, self.after, rule.within)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="these runs, with what they need"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the runs of both trees are kept")
    parser.add_argument("--all", action="store_true", help="print every difference, explained ones too")
    options = parser.parse_args()
    runs = chosen(tuple(options.only))
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).resolve()
        before = folder / f"base-{state_of(options.base, runs)}"
        if not (before / "done").exists():
            source = checked_out(options.base, Path(temporary) / "base")
            carry_out([old(run) for run in runs], before, source, old_words=True)
            (before / "done").touch()
        carry_out(runs, folder / "here", ROOT, old_words=False)
        return tell(
            {run.name: differences(run.name, before, folder / "here") for run in runs}, folder, options.all
        )


def state_of(base: str, runs: Sequence[Run]) -> str:
    """A name for BASE and all that decides its runs."""
    commit = git("rev-parse", "--short", f"{base}^{{commit}}").strip()
    texts = [(HERE / name).read_text(encoding="utf-8") for name in ("inputs.py", "runs.py")]
    return f"{commit}-{sha256(repr([texts, runs]).encode()).hexdigest()[:8]}"


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    ).stdout


def checked_out(commit: str, folder: Path) -> Path:
    """The files of a commit, in a folder of their own."""
    folder.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit], check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def old(run: Run) -> Run:
    """The run in the words of BASE."""
    return Run(run.name, tuple(word for new in run.command for word in OLD_WORDS.get(new, (new,))), run.needs)


def carry_out(runs: Sequence[Run], folder: Path, tree: Path, *, old_words: bool) -> None:
    """All runs in an empty folder, with the efface of `tree`."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "inputs").mkdir(parents=True)
    inputs.make(folder / "inputs", old_words)
    (folder / "runs.json").write_text(json.dumps([vars(run) for run in runs]), encoding="utf-8")
    print(f"{tree}:", flush=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree / "src"),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
        **dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"), "1"),
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [sys.executable, str(HERE / "carrying_out.py"), "runs.json", str(tree / "src")]
    subprocess.run(command, cwd=folder, env=environment, check=True)


def differences(name: str, before: Path, after: Path) -> list[Difference]:
    """What differs between a run in BASE, its facts moved to where they lie now, and the same run here."""
    rules, _ = explained()
    old_facts = {moved(f"{name}/{place}", rules): value for place, value in facts_of(before, name).items()}
    new_facts: Facts = {f"{name}/{place}": value for place, value in facts_of(after, name).items()}
    found = []
    for place in sorted(old_facts.keys() | new_facts.keys()):
        # a fact that is null says no more than one that is not there
        one, other = old_facts.get(place), new_facts.get(place)
        if not same(one, other):
            kind = "new" if one is None else "gone" if other is None else "changed"
            found.append(Difference(place, kind, one, other))
    return found


def moved(place: str, rules: Sequence[Moved]) -> str:
    for rule in rules:
        place = re.sub(rule.pattern, rule.to, place)
    return place


def same(one: Value, other: Value) -> bool:
    return one == other or repr(one) == repr(other)  # which says that NaN is NaN


def close(one: Value, other: Value, share: float) -> bool:
    try:
        first, second = float(one), float(other)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return abs(first - second) <= share * max(abs(first), abs(second))


def explained() -> tuple[list[Moved], list[Changed]]:
    """The rules of `explained.yaml`."""
    rules = yaml.safe_load((HERE / "explained.yaml").read_text(encoding="utf-8"))
    return [Moved(**rule) for rule in rules["moved"] or []], [
        Changed(**rule) for rule in rules["changed"] or []
    ]


def tell(found: Mapping[str, list[Difference]], folder: Path, all_of_them: bool) -> int:
    """Print what differs, explained and unexplained apart; returns the exit code."""
    _, rules = explained()
    reasons: dict[str, list[Difference]] = defaultdict(list)
    unexplained: dict[str, list[Difference]] = defaultdict(list)
    for one in (one for some in found.values() for one in some):
        rule = next((rule for rule in rules if one.allowed_by(rule)), None)
        if rule:
            reasons[rule.reason].append(one)
        else:
            unexplained[one.place.partition("/")[2]].append(one)
    for reason, some in reasons.items():
        print(f"explained ({len(some)}): {reason}")
        for one in some if all_of_them else []:
            print(f"    {one}")
    print("UNEXPLAINED:" if unexplained else "nothing is unexplained")
    for some in list(unexplained.values())[: None if all_of_them else PRINTED]:
        for one in some if all_of_them else some[:1]:
            print(f"    {one}", f"(and in {len(some) - 1} other runs)" if len(some) > 1 else "")
        if some[0].place.endswith("/exit code"):
            name = some[0].place.partition("/")[0]
            error = (folder / "here" / "outputs" / f"{name}.err").read_text(encoding="utf-8").splitlines()
            print(*(f"        | {line}" for line in error[-8:]), sep="\n")
    if len(unexplained) > PRINTED and not all_of_them:
        print(f"    and {len(unexplained) - PRINTED} other places: --all prints them")
    print(f"{len(found)} runs; {len(unexplained)} places differ without an explanation")
    return int(bool(unexplained))


if __name__ == "__main__":
    sys.exit(main())
