"""Every script of `benchmarks/` and `docs/` in its smallest form: does it run, and are docs as their scripts write them?

    python benchmarks/smoke.py [--demo runs/demo] [NAME ...]

Two at a time, each on one thread. Exit code 1 where a script fails, or where one that writes a committed page or picture
writes another than is committed. --demo: a finished demo for the picture that is made from one; by default a short one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

from efface.documents import read_yaml, yaml_text

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = (
    "benchmarks/mage_step.py --smoke",
    "benchmarks/palette_step.py --smoke",
    "benchmarks/unlearning_step.py --smoke",
    "benchmarks/gpu.py --device cpu --small --out WORK",
    "benchmarks/released.py all --stand-ins --out WORK",
    "benchmarks/palette_restoring.py --smoke",
    "benchmarks/oracle_pool.py --smoke",
    "benchmarks/evaluation.py --smoke",
    "benchmarks/theory.py --smoke",
    "benchmarks/caching.py --smoke",
    "benchmarks/scale.py --smoke",
    "benchmarks/memory.py --smoke",
    "benchmarks/duplicates.py --smoke",
    "benchmarks/erased_list.py --smoke",
    "benchmarks/forgetting_score.py --smoke",
    "benchmarks/probe_calibration.py --smoke",
    "benchmarks/relative_tests.py --smoke",
    "benchmarks/verdict_rates.py --smoke",
    "benchmarks/sequence.py WORK/sequence.yaml --out WORK/sequence --results WORK",
    "benchmarks/score_behaviour.py --smoke",
    "benchmarks/planted.py --smoke",
    "benchmarks/extractors.py --smoke",
    "benchmarks/remembered.py --smoke",
    "benchmarks/serve.py --smoke",
    "docs/make.py --demo DEMO --out WORK/demo.png",
)
"""`WORK` is a temporary folder, `DEMO` a finished demo."""
WRITING = ("docs/make.py",)
"""Those that write pages and pictures from what is committed."""
TRAINING = {"steps": 3, "batch_size": 8, "precision": "fp32"}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only scripts whose path holds one of these")
    parser.add_argument("--demo", type=Path)
    options = parser.parse_args()

    def chosen(commands: Sequence[str]) -> list[str]:
        return [one for one in commands if not options.names or any(name in one for name in options.names)]

    failed = [f"{one} (not listed in smoke.py)" for one in unlisted()]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as workers:
        work, demo = Path(folder), options.demo or Path(folder) / "demo"
        make_inputs(work)
        commands = chosen(BENCHMARKS)
        if not options.demo and any("DEMO" in one for one in commands):
            run(f"-m efface demo --short --out {demo}")
        written = [one.replace("WORK", str(work)).replace("DEMO", str(demo)) for one in commands]
        failed += [one for one, worked in zip(commands, workers.map(run, written), strict=True) if not worked]
    before = changes()
    failed += [one for one in chosen(WRITING) if not run(one)]
    if (after := changes()) != before:
        print(f"docs are not as their scripts write them:\n{after}")
        failed.append("docs/")
    print(f"failed: {', '.join(failed)}" if failed else "all run")
    return int(bool(failed))


def unlisted() -> list[str]:
    """Scripts that neither list has."""
    files = [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("docs/**/*.py")]
    scripts = [
        file for file in files if "__main__" in file.read_text(encoding="utf-8") and file != Path(__file__)
    ]
    known = {one.split()[0] for one in (*BENCHMARKS, *WRITING)}
    return sorted({str(script.relative_to(ROOT)) for script in scripts} - known)


def run(command: str) -> bool:
    """Run `python COMMAND`; its output is printed only where it fails."""
    began = time.monotonic()
    environment = {
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        **os.environ,
    }
    done = subprocess.run(
        [sys.executable, *command.split()],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"{time.monotonic() - began:5.1f} s  {command}", flush=True)
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-4000:], sep="\n", flush=True)
    return not done.returncode


def changes() -> str:
    """What is not committed in docs and README."""
    command = ["git", "-C", str(ROOT), "diff", "--stat", "--", "docs", "README.md"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def make_inputs(folder: Path) -> None:
    """The config of a sequence in small."""
    sequence = read(ROOT / "benchmarks" / "configs" / "sequence.yaml")
    task = sequence["task"]
    task["images"] |= {"forget": "random:6", "limit": 40, "limit_test": 20}
    task["training"] |= TRAINING
    task["unlearning"] |= TRAINING
    write(folder / "sequence.yaml", {**sequence, "requests": 2, "seeds": [0]})


def read(file: Path) -> dict[str, dict[str, dict[str, object]]]:
    return cast("dict[str, dict[str, dict[str, object]]]", read_yaml(file))


def write(file: Path, values: Mapping[str, object]) -> None:
    file.write_text(yaml_text(values), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
