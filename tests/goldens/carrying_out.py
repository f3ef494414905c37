"""Carries out golden runs in one tree: `python carrying_out.py RUNS.json`, from the folder where they are to lie.

Libraries are loaded once, and every command runs in a fork: a run takes a second where loading takes five. Nothing of
efface is imported before the fork, so each command starts as `python -m efface` does.
"""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import sys
import time
from pathlib import Path


def main(runs: Path, source: Path) -> None:
    spec = importlib.util.find_spec("efface")
    if not (spec and spec.origin and Path(spec.origin).is_relative_to(source)):
        raise SystemExit(f"this would not run the efface of {source}, but {spec}")
    load_libraries()
    for run in json.loads(runs.read_text(encoding="utf-8")):
        began = time.monotonic()
        code = carried_out(run["name"], run["command"])
        print(f"{run['name']:<28} exit code {code}  {time.monotonic() - began:5.1f} s", flush=True)


def load_libraries() -> None:
    """What takes long, as far as it is there."""
    import accelerate  # noqa: F401
    import diffusers
    import scipy.stats  # noqa: F401
    import torch
    import transformers

    torch.set_num_threads(1)
    _ = (
        transformers.ViTMAEForPreTraining,
        diffusers.UNet2DConditionModel,
        diffusers.StableDiffusionInpaintPipeline,
    )


def carried_out(name: str, command: list[str]) -> int:
    """The exit code of a command in a process of its own; its output lies in `outputs/NAME.{out,err,code}`."""
    outputs = Path("outputs")
    outputs.mkdir(exist_ok=True)
    child = os.fork()
    if child == 0:
        for number, kind in ((1, "out"), (2, "err")):
            os.dup2(os.open(outputs / f"{name}.{kind}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = ["efface", *command]
        code = 1
        try:
            runpy.run_module("efface", run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    (outputs / f"{name}.code").write_text(str(code), encoding="ascii")
    return code


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
