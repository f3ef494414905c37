"""A benchmark's folder is held by one process, its owner's alone, and purged of what shows or holds forgotten images."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from efface.benchmark.purging import is_benchmark, purge_benchmark
from efface.errors import RunRefused
from efface.runs.folder import hold


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of a benchmark with one original and one unlearned run."""
    for place in ("original-1", "unlearned/fine-tune-2/from-0"):
        folder = tmp_path / "out" / "pools" / "digits" / "score" / place
        folder.mkdir(parents=True)
        arrays = {"seconds": 1.5, "centre|forget|hole": np.ones(2), "centre|forget|crops": 1}
        arrays |= {
            f"centre|{name}|pictures": np.full((2, 3, 4, 4), 9, np.uint8) for name in ("forget", "retain")
        }
        np.savez(folder / "0.npz", **arrays)
    (tmp_path / "out" / "pools" / "digits" / "score" / "original-1" / "0.safetensors").write_bytes(b"weights")
    (tmp_path / "out" / "pools" / "digits" / "score" / "original-1" / ".1.npz.77.tmp").write_bytes(b"half")
    (tmp_path / "out" / "results.json").write_text("{}")
    return tmp_path / "out"


def test_a_purge_takes_weights_and_pictures_and_leaves_figures(out: Path, tmp_path: Path) -> None:
    assert is_benchmark(out)
    assert not is_benchmark(tmp_path)
    purged = purge_benchmark(out)
    assert (purged.removed, purged.without_pictures) == (2, 2)
    files = sorted(path.name for path in out.rglob("*") if path.is_file())
    assert files == ["0.npz", "0.npz", "results.json"]
    for path in out.rglob("*.npz"):
        with np.load(path) as arrays:
            assert arrays["centre|forget|pictures"].shape == (0, 3, 4, 4)
            assert arrays["centre|forget|hole"].tolist() == [1, 1]
            assert float(arrays["seconds"]) == 1.5
    assert (purge_benchmark(out).removed, purge_benchmark(out).without_pictures) == (0, 0)


def test_a_folder_is_held_by_one_process_at_a_time(out: Path) -> None:
    with ExitStack() as held, ExitStack() as second:
        assert hold(out, held)
        with pytest.raises(RunRefused, match="in use by another process"):
            hold(out, second)
    with ExitStack() as third:
        assert hold(out, third)


def test_a_folder_with_a_link_in_it_is_refused(out: Path, tmp_path: Path) -> None:
    (out / "pools" / "faces").symlink_to(tmp_path)
    with ExitStack() as held, pytest.raises(RunRefused, match=r"pools/faces in .* is a link"):
        hold(out, held)
