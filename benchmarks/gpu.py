"""All that a claim about GPUs needs, measured in minutes: steps, share of the matrix peak, memory, pool, resume, tests.

    python benchmarks/gpu.py [--minutes 9] [--parts mae palette ...]
    python benchmarks/gpu.py --device cpu --small        (that it runs, without a GPU)

Each part runs in a process of its own, and is ended when its own minutes or those of the whole are over; what it measured
until then is kept. The result is written after every part, the README's rows are printed at the end. Images are generated.

A step is one of `encoder-noise` in bf16, as the trainer runs it, on crops that were already read; with reading and cropping
it is timed too. Beside it, in turn, stands the plain loop on the same network: fp32 as torch sets it (on CUDA convolutions
compute in TF32), the whole model forward and backward, the teacher's whole model on every picture and again on its noise,
the first stage at every visit. Matrix operations of a step are counted by torch and held against the fastest product of two
square matrices in bf16 in the same process. A batch that does not fit is halved, and the result says so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from machine import result_file

FINISHING = 5.0
"""Seconds kept for the last result and the rows."""


@dataclass(frozen=True)
class Part:
    """What is measured in one process, by `gpu_parts`, and the most seconds that it may take."""

    name: str
    seconds: float


PARTS = (
    Part("mae", 60),
    Part("palette", 80),
    Part("mage", 70),
    Part("latent-inpainting", 100),
    Part("resume", 50),
    Part("tests", 60),
    Part("pool", 70),
    Part("mae-compiled", 80),
)
"""The most important first: where time runs short, the last ones are left out."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny models and batches: only that it runs")
    parser.add_argument("--minutes", type=float, default=9.0, help="of the whole; default 9")
    parser.add_argument("--parts", nargs="+", choices=[part.name for part in PARTS])
    parser.add_argument("--out", type=Path, help="folder of the result; default: benchmarks/results")
    parser.add_argument("--part", choices=[part.name for part in PARTS], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        from gpu_parts import measure

        measure(options.part, options.small)
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU here; --device cpu --small only tries whether the script runs")
    end = time.monotonic() + 60 * options.minutes - FINISHING
    device = torch.cuda.get_device_name(0) if options.device == "cuda" else "cpu"
    name = "gpu_" + "_".join(re.findall(r"[a-z0-9]+", device.lower())) + ("_small" if options.small else "")
    parts: dict[str, Any] = {}
    for part in PARTS:
        if part.name not in (options.parts or chosen_by_default(options.small)):
            continue
        parts[part.name] = carried_out(part, end - time.monotonic(), options)
        print(f"{part.name}: {parts[part.name]['state']}", flush=True)
        result_file(name, {"device": device, "small": options.small, "parts": parts}, options.out)
    print("\n".join(rows(parts, device)))
    sys.exit(any(values["state"].startswith("failed") for values in parts.values()))


def chosen_by_default(small: bool) -> list[str]:
    """All parts; in small not what waits for compilers alone."""
    return [part.name for part in PARTS if not (small and part.name.endswith("-compiled"))]


def carried_out(part: Part, left: float, options: argparse.Namespace) -> dict[str, Any]:
    """Run one part in a process of its own, for `left` seconds at most; what it gave, and how it ended as `state`."""
    limit = min(part.seconds, left)
    if limit < FINISHING:
        return {"state": "left out: no time was left"}
    environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": ""} if options.device == "cpu" else {})}
    command = [sys.executable, __file__, "--part", part.name, *(["--small"] if options.small else [])]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        # a killed process leaves its folders: they lie in this one
        environment["TMPDIR"] = folder
        found, problems = Path(folder) / "found", Path(folder) / "problems"
        with found.open("wb") as output, problems.open("wb") as errors:
            child = subprocess.Popen(
                command, stdout=output, stderr=errors, env=environment, start_new_session=True
            )
            try:
                state = "measured" if child.wait(limit) == 0 else "failed"
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, 9)
                child.wait()
                state = f"ended after {limit:.0f} s; what is here was measured before"
        values: dict[str, Any] = {}
        for line in found.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("{"):
                values |= json.loads(line)
        if state == "failed":
            last = problems.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            state = f"failed: {' '.join(last)[:300]}"
    return {"state": state, "seconds": round(time.monotonic() - began, 1), **values}


def rows(parts: dict[str, Any], device: str) -> list[str]:
    """Lines for the README's table, of what was measured."""
    lines = []
    for part, values in parts.items():
        for case, found in values.get("steps", {}).items():
            lines.append(step_row(part, case, found, device))
    if "times_faster" in (pool := parts.get("pool", {})):
        lines.append(
            f"| pool of {pool['what']}, {pool['workers']} workers on one {device} against one | "
            f"{pool['times_faster']:.2f} times faster | |"
        )
    if resume := parts.get("resume", {}).get("resumed"):
        equal = [family for family, found in resume.items() if found["bit_equal"]]
        lines.append(
            f"| stopped at two checkpoints and continued on {device}: weights bit for bit those of an uninterrupted run | "
            f"{len(equal)} of {len(resume)} families ({', '.join(equal) or 'none'}) | |"
        )
    if "summary" in (tests := parts.get("tests", {})):
        lines.append(f"| tests that need a GPU, on {device} | {tests['summary']} | |")
    return lines


def step_row(part: str, case: str, found: dict[str, Any], device: str) -> str:
    """The line of one family's step."""
    figures = []
    if plain := found.get("times_faster"):
        figures.append(f"{plain['median']:.1f} times faster ({plain['min']:.1f} to {plain['max']:.1f})")
    figures.append(f"{found['images_per_second']['median']:,.0f} images/s")
    figures.append(f"with reading {found['with_reading']['median']:,.0f}")
    if share := found.get("share_of_matrix_peak"):
        figures.append(f"{share:.0%} of the matrix peak")
    if memory := found.get("memory_mib"):
        beside = f" against {memory['plain loop']:,}" if "plain loop" in memory else ""
        figures.append(f"{memory['efface']:,}{beside} MiB")
    compiled = ", compiled" if part.endswith("-compiled") else ""
    return (
        f"| `{found['family']}` step, {found['image_size']} px, batch {found['batch']}, {found['precision']}{compiled}"
        f"{', ' + case if case else ''}, on {device}, against a plain fp32 loop | {'; '.join(figures)} | |"
    )


if __name__ == "__main__":
    main()
