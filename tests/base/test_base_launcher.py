"""Variables of a launcher: kept where they mean several processes, dropped and said where they are left over."""

from __future__ import annotations

import pytest

from efface.launcher import drop_leftovers

WHOLE = {
    "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "node", "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "none",
}  # fmt: skip


def test_what_torchrun_sets_is_kept_without_a_word() -> None:
    environment = dict(WHOLE)
    assert drop_leftovers(environment) is None
    assert environment == WHOLE
    alone = WHOLE | {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    del alone["TORCHELASTIC_RUN_ID"]
    assert drop_leftovers(dict(alone)) is None


def test_another_launcher_is_waited_for_with_a_word() -> None:
    environment = {name: value for name, value in WHOLE.items() if name != "TORCHELASTIC_RUN_ID"}
    assert "process 1 of 4" in (drop_leftovers(environment) or "")
    assert len(environment) == 5


@pytest.mark.parametrize(
    "left",
    [
        {"SLURM_NTASKS": "4", "WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0"},
        {"RANK": "2"},
        {"WORLD_SIZE": "2", "PMI_SIZE": "2", "PMI_RANK": "0"},
        WHOLE | {"RANK": "x"},
        WHOLE | {"RANK": "4"},
        WHOLE | {"WORLD_SIZE": ""},
    ],
)
def test_what_is_left_over_is_dropped_and_named(left: dict[str, str]) -> None:
    environment = {**left, "HOME": "/home"}
    said = drop_leftovers(environment) or ""
    gone = set(left) - set(environment)
    assert gone
    assert not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "PMI_SIZE"} & set(environment)
    assert all(name in said for name in gone if not name.startswith("PMI"))
    assert environment["HOME"] == "/home"
    assert environment.get("SLURM_NTASKS") == left.get("SLURM_NTASKS")


def test_an_environment_without_a_launcher_says_nothing() -> None:
    assert drop_leftovers({"SLURM_JOB_ID": "7", "MASTER_ADDR": "node"}) is None
