"""Several processes, on one machine or on nodes, give the figures of one; one of them writes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from efface.errors import InputError
from efface.sharing import Sharers, in_shares, of_the_first, sharing
from support.tiny_models import save_pictures, tiny

ROUNDING = 1e-4
"""Of figures, relative or absolute; docs/reproducibility.md."""
ASKED = [
    *("unlearn", "model", "--forget", "forget", "--retain", "retain", "--neutral", "neutral", "--probe", "membership"),
    *("--probe", "perturbation", "--require", "retain-error<=9x", "--set", "training.steps=6", "--with-pictures"),
    *("--set", "training.batch_size=4", "--set", "training.precision=fp32", "--set", "evaluation.resamples=200"),
    *("--set", "evaluation.crops_per_image=2"),
]  # fmt: skip


def test_each_process_does_a_part_and_all_get_the_whole() -> None:
    values, seen = np.arange(7), list[list[int]]()

    def compute(part: range) -> np.ndarray:
        seen.append(list(part))
        return values[part.start : part.stop] ** 2

    def found(rank: int, others: list[Any]) -> np.ndarray:
        def gather(mine: object) -> list[Any]:
            return [*others[:rank], mine, *others[rank:]]

        with sharing(Sharers(rank, 3, gather)):
            return in_shares(7, compute, np.concatenate)

    parts = [[values[0:2] ** 2], [values[2:4] ** 2], [values[4:7] ** 2]]
    for rank in range(3):
        assert found(rank, parts[:rank] + parts[rank + 1 :]).tolist() == (values**2).tolist()
    assert seen == [[0, 1], [2, 3], [4, 5, 6]]


def test_a_fault_of_one_process_is_raised_in_all() -> None:
    with (
        sharing(Sharers(0, 2, lambda mine: [mine, InputError("broken")])),
        pytest.raises(InputError, match="broken"),
    ):
        in_shares(4, list, lambda parts: parts[0])


def test_the_first_process_decides() -> None:
    def never() -> int:
        raise AssertionError

    with sharing(Sharers(1, 2, lambda mine: [5, mine])):
        assert of_the_first(never) == 5
    assert of_the_first(lambda: 7) == 7


def launched(folder: Path, *launcher: str, out: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *launcher, "efface", *ASKED, "--out", out]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def figures(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    inner = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    if isinstance(value, Mapping | list):
        for name, part in inner:
            yield from figures(part, f"{place}.{name}")
    elif not place.endswith(".name"):
        yield place, value


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_nodes_give_the_figures_of_one_process(tmp_path: Path) -> None:
    tiny().save(tmp_path / "model")
    for name, count, seed in (("forget", 7, 1), ("retain", 9, 2), ("neutral", 6, 3)):
        save_pictures(tmp_path / name, count, seed)
    where = ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    launch = ["torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *where, "--node-rank"]
    with ExitStack() as ended:
        started = [launched(tmp_path, *launch, rank, "-m", out="nodes") for rank in ("0", "1")]
        started.append(launched(tmp_path, out="one"))
        for process in started:
            ended.enter_context(process)
            ended.callback(process.kill)
        for process in started:
            said, _ = process.communicate()
            assert process.returncode == 0, said.decode()[-3000:]
    for name in ("results.json", "verdict.json"):
        one, two = (
            dict(figures(json.loads((tmp_path / run / name).read_text()))) for run in ("one", "nodes")
        )
        assert one.keys() == two.keys()
        for place, value in one.items():
            if isinstance(value, float):
                assert two[place] == pytest.approx(value, rel=ROUNDING, abs=ROUNDING), place
            else:
                assert two[place] == value, place
    assert json.loads((tmp_path / "nodes/record.json").read_text())["training"]["processes"] == 2
    verified = subprocess.run([sys.executable, "-m", "efface", "verify", "nodes"], cwd=tmp_path, check=False)
    assert verified.returncode == 0
