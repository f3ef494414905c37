"""A checkpoint is the old one or the new one, whole, of this config, and carries no code."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from efface.errors import InputError
from efface.training import checkpoint as module
from efface.training.checkpoint import (
    FILE_NAME,
    Checkpoint,
    check_of,
    load_checkpoint,
    random_states,
    restore_random_states,
    save_checkpoint,
)


def checkpoint(step: int = 3, digest: str = "config") -> Checkpoint:
    weights = {"a": torch.full((2, 3), float(step)), "b": torch.arange(4)}
    optimizer = {
        "state": {0: {"step": torch.tensor(3.0)}},
        "param_groups": [{"lr": 0.1, "betas": (0.9, 0.95)}],
    }
    return Checkpoint(digest, 1, step, 8, weights, optimizer, random_states(), 1.5)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    saved = checkpoint()
    save_checkpoint(tmp_path / "new folder", saved)
    loaded = load_checkpoint(tmp_path / "new folder", "config")
    assert loaded is not None
    for field in dataclasses.fields(Checkpoint):
        if field.name not in ("weights", "random_states"):
            assert getattr(loaded, field.name) == getattr(saved, field.name)
    assert loaded.weights.keys() == saved.weights.keys()
    assert all(torch.equal(loaded.weights[name], saved.weights[name]) for name in saved.weights)


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, "config") is None


def test_a_write_that_fails_half_way_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, checkpoint(step=3))
    before = (tmp_path / FILE_NAME).read_bytes()

    def full_disk(content: Any, path: Path) -> None:
        Path(path).write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, checkpoint(step=6))
    monkeypatch.undo()
    assert (tmp_path / FILE_NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    loaded = load_checkpoint(tmp_path, "config")
    assert loaded is not None
    assert loaded.step == 3


def test_the_new_one_is_flushed_before_it_takes_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from efface import files

    order: list[str] = []
    flush, replace = files.os.fsync, files.os.replace
    monkeypatch.setattr(files.os, "fsync", lambda handle: order.append("flush") or flush(handle))
    monkeypatch.setattr(files.os, "replace", lambda *paths: order.append("rename") or replace(*paths))
    save_checkpoint(tmp_path, checkpoint())
    assert order[:2] == ["flush", "rename"]


def test_a_checkpoint_of_another_config_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(digest="other"))
    with pytest.raises(InputError, match="belongs to another config"):
        load_checkpoint(tmp_path, "config")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_damaged_checkpoint_says_what_to_do(share: float, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint())
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=r"is damaged .* remove it"):
        load_checkpoint(tmp_path, "config")


def test_a_flipped_bit_anywhere_in_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint())
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    noticed = 0
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            loaded = load_checkpoint(tmp_path, "config")
        except InputError:
            noticed += 1
        else:
            # it was padding, or a field of the zip file that says nothing of the content
            assert loaded is not None
            assert check_of(vars(loaded)) == check_of(vars(checkpoint_of(whole, tmp_path)))
    assert noticed > len(whole) / 97 / 4


def checkpoint_of(content: bytes, folder: Path) -> Checkpoint:
    (folder / FILE_NAME).write_bytes(content)
    loaded = load_checkpoint(folder, "config")
    assert loaded is not None
    return loaded


def test_a_check_sum_tells_values_names_shapes_and_places_apart() -> None:
    tensor = torch.arange(6.0)
    values: list[object] = [
        None, 0, 0.0, "0", [], [[]], {}, {"a": 1}, {"b": 1}, {"a": 1.5}, [1, 2], [2, 1], [[1], 2], [1, [2]],
        tensor, tensor.reshape(2, 3), tensor.reshape(3, 2), tensor.double(), tensor.bfloat16(), tensor + 1,
        torch.zeros(0), torch.tensor(True), torch.tensor(1), {"a": tensor}, [tensor, tensor],
    ]  # fmt: skip
    assert (
        len({check_of(value) for value in values}) == len(values) - 1
    )  # a list and a mapping of nothing are alike
    assert check_of(tensor.reshape(2, 3).t().t()) == check_of(tensor.reshape(2, 3))
    assert check_of((1, 2)) == check_of([1, 2])


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    trace = tmp_path / "the code ran"

    class OpensAFile:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(trace), "w")

    content = {field.name: getattr(checkpoint(), field.name) for field in dataclasses.fields(Checkpoint)}
    torch.save({**content, "weights": OpensAFile()}, tmp_path / FILE_NAME)
    with pytest.raises(InputError, match="cannot be continued from"):
        load_checkpoint(tmp_path, "config")
    assert not trace.exists()


def test_random_states_come_back_from_the_file(tmp_path: Path) -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    np.random.standard_normal()  # leaves a cached second value in the state
    random.gauss(0, 1)

    def draw() -> list[float]:
        return [
            random.gauss(0, 1), random.random(), np.random.standard_normal(), np.random.random(),
            torch.rand(()).item(),
        ]  # fmt: skip

    save_checkpoint(tmp_path, checkpoint())
    expected = draw()
    assert draw() != expected
    loaded = load_checkpoint(tmp_path, "config")
    assert loaded is not None
    restore_random_states(loaded.random_states)
    assert draw() == expected
