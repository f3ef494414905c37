"""Whole runs from the command line: every way to name images, config files, JSON, and what is printed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from efface.documents import yaml_text
from efface.jobs.run import RunResult
from efface.runs.record import read_record
from support.run_fixtures import CommandLine, Outcome
from support.run_making import SHORT, SHORT_OPTIONS, in_a_process, make_model


@pytest.fixture
def forget(cli: CommandLine, tiny: Path, photos: Path, tmp_path: Path) -> Callable[..., Outcome]:
    """`forget("label:cats")` runs `unlearn` on the photos, in the folder `run`."""

    def run(*selectors: object, images: bool = True, more: tuple[object, ...] = ()) -> Outcome:
        sets: list[object] = ["--images", photos] if images else ["--retain", photos / "dogs"]
        for selector in selectors:
            sets += ["--forget", selector]
        return cli("unlearn", tiny, *sets, "--out", tmp_path / "run", *SHORT_OPTIONS, *more)

    return run


def counts(run: Path) -> dict[str, int]:
    return {name: facts.count for name, facts in read_record(run).images.sets.items()}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "kind", ["folder", "paths", "digests", "glob", "label", "sha256", "manifest", "image"]
)
def test_every_way_to_name_images_forgets_the_cats(
    forget: Callable[..., Outcome], photos: Path, tmp_path: Path, kind: str
) -> None:
    cats = sorted((photos / "cats").iterdir())
    paths = tmp_path / "paths.txt"
    paths.write_text("".join(f"{cat.relative_to(photos)}\n" for cat in cats))
    digests = tmp_path / "digests.txt"
    digests.write_text("# by content\n" + "".join(f"{digest(cat)}\n" for cat in cats))
    manifest = tmp_path / "forget.csv"
    manifest.write_text("sha256,path\n" + "".join(f"{digest(cat)},{cat}\n" for cat in cats))
    selectors: dict[str, list[object]] = {
        "folder": [photos / "cats"],
        "paths": [paths],
        "digests": [digests],
        "glob": ["glob:cats/*.png"],
        "label": ["label:cats"],
        "sha256": [f"sha256:{digest(cat)}" for cat in cats],
        "manifest": [manifest],
        "image": cats,
    }
    outcome = forget(*selectors[kind])
    assert outcome.code == 0, outcome.err
    assert counts(tmp_path / "run") == {"forget": 3, "retain": 7, "neutral": 0}


def test_folders_of_their_own_need_no_main_images(
    forget: Callable[..., Outcome], photos: Path, tmp_path: Path
) -> None:
    assert forget(photos / "cats", images=False).code == 0
    assert counts(tmp_path / "run") == {"forget": 3, "retain": 5, "neutral": 0}


def test_a_list_that_matches_in_part_names_the_missing_rows_and_can_be_corrected(
    forget: Callable[..., Outcome], photos: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "forget.txt"
    absent = "0" * 64
    listed.write_text(
        f"cats/cats-0.png\ncats/cats-7.png\n{digest(photos / 'cats' / 'cats-1.png')}\n{absent}\n"
    )
    outcome = forget(listed)
    assert outcome.code == 2
    assert "forget.txt line 2" in outcome.err
    assert "cats-7.png" in outcome.err
    assert f"forget.txt line 4: no image has the sha256 {absent}" in outcome.err
    assert "line 1" not in outcome.err
    assert "line 3" not in outcome.err
    assert not (tmp_path / "run").exists()
    listed.write_text(f"cats/cats-0.png\n{digest(photos / 'cats' / 'cats-1.png')}\n")
    outcome = forget(listed, more=("--seed", 3))
    assert outcome.code == 0, outcome.err
    assert counts(tmp_path / "run") == {"forget": 2, "retain": 8, "neutral": 0}


def test_copies_and_unreadable_images_are_dealt_with_as_the_options_say(
    cli: CommandLine, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(photos, tmp_path / "data")
    shutil.copy(data / "cats" / "cats-0.png", data / "dogs" / "copy.png")
    (data / "dogs" / "torn.png").write_bytes((data / "dogs" / "dogs-0.png").read_bytes()[:200])
    command = ("unlearn", tiny, "--images", data, "--forget", "label:cats", "--out", tmp_path / "run")
    command = (*command, *SHORT_OPTIONS)
    assert "torn.png: " in cli(*command).err
    outcome = cli(*command, "--skip-unreadable")
    assert outcome.code == 2
    assert "1 copy and 0 near-copies" in outcome.err
    outcome = cli(*command, "--skip-unreadable", "--duplicates", "forget")
    assert outcome.code == 0, outcome.err
    record = read_record(tmp_path / "run")
    assert record.images.skipped.count == 1
    assert counts(tmp_path / "run") == {"forget": 4, "retain": 7, "neutral": 0}


def test_figures_go_to_standard_output_and_progress_to_standard_error(
    forget: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = forget("label:cats", more=("--json",))
    assert outcome.code == 0
    told = json.loads(outcome.out)
    assert told["run"] == str(tmp_path / "run")
    assert told["results"] == json.loads((tmp_path / "run" / "results.json").read_text())
    assert "unlearn: 0 of 6" in outcome.err
    again = forget("label:cats")
    assert again.code == 0
    assert "is finished already; nothing to do" in again.err
    assert "hole_mse" in again.out
    assert "as retrained" in again.out
    assert str(tmp_path / "run" / "report.html") in again.out


def test_a_changed_command_exits_with_3_and_shows_what_differs(
    forget: Callable[..., Outcome], tmp_path: Path
) -> None:
    assert forget("label:cats").code == 0
    before = {str(f): f.read_bytes() for f in (tmp_path / "run").rglob("*") if f.is_file()}
    outcome = forget("label:cats", more=("--seed", 5, "--set", "method.alpha=0.5"))
    assert outcome.code == 3
    assert "seed: 0 -> 5" in outcome.err
    assert "method.alpha: 0.25 -> 0.5" in outcome.err
    assert {str(f): f.read_bytes() for f in (tmp_path / "run").rglob("*") if f.is_file()} == before


def test_settings_come_from_the_file_then_options_then_set(
    cli: CommandLine, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "run.yaml"
    values: dict[str, Any] = {
        "model": "somewhere/else",
        "images": {"images": str(photos), "forget": ["label:dogs"]},
        "method": "fine-tune",
        "seed": 1,
        "corruption": "centre:0.25",
        **SHORT,
    }
    file.write_text(yaml_text(values))
    outcome = cli(
        "unlearn", tiny, "--config", file, "--forget", "label:cats", "--method", "encoder-noise", "--seed", 2,
        "--set", "seed=3", "--set", "method.alpha=0.125", "--out", tmp_path / "run",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["model"]["path"] == str(tiny)
    assert config["images"]["forget"] == ["label:cats"]
    assert config["method"] == {
        "name": "encoder-noise",
        "alpha": 0.125,
        "noise": "standard-normal",
        "norm": "mse",
        "target": "noise",
    }
    assert (config["seed"], config["corruption"], config["training"]["steps"]) == (3, "centre:0.25", 6)


def test_short_forms_in_a_file_take_overrides(
    cli: CommandLine, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    file, reference = tmp_path / "run.yaml", make_model(tmp_path / "reference", seed=1)
    file.write_text(
        yaml_text({"model": str(tiny), "method": "encoder-noise", "images": {"images": str(photos)}})
    )
    outcome = cli(
        "unlearn", "--config", file, "--forget", "label:cats", "--retrained", reference, "--out", tmp_path / "run",
        "--set", "method.alpha=2", "--set", "model.norm_pix_loss=false", "--set", "retrained.norm_pix_loss=false",
        *SHORT_OPTIONS,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["method"]["alpha"], config["model"]["path"], config["model"]["norm_pix_loss"]) == (
        2.0,
        str(tiny),
        False,
    )
    assert config["retrained"]["path"] == str(reference)


def test_plan_says_all_that_is_wrong_and_exits_with_2(
    cli: CommandLine, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    outcome = cli(
        "plan", tiny, "--images", photos, "--forget", "label:horses", "--corruption", "centre:0.9", "--json",
        "--set", "training.batch_size=5",
    )  # fmt: skip
    assert outcome.code == 2
    faults = json.loads(outcome.out)["faults"]
    assert len(faults) == 3
    assert list(tmp_path.iterdir()) == []
    plain = cli("plan", tiny, "--images", photos, "--forget", "label:horses")
    assert plain.code == 2
    assert "faults:\n  - forget label:horses: no image has this label" in plain.out


def test_a_plan_without_faults_says_what_it_takes(cli: CommandLine, tiny: Path, photos: Path) -> None:
    options = ("plan", tiny, "--images", photos, "--forget", "label:cats", *SHORT_OPTIONS)
    as_json = cli(*options, "--json")
    assert as_json.code == 0, as_json.err
    told = json.loads(as_json.out)
    assert told["faults"] == []
    assert told["estimate"]["steps"] == 6
    plain = cli(*options)
    assert plain.code == 0
    for part in (
        "risks:\n",
        "sets: forget 3, retain 7, neutral 0",
        "training: 6 steps of",
        "memory: ",
        "disk: ",
    ):
        assert part in plain.out


def test_keeping_then_purging_from_the_command_line(
    forget: Callable[..., Outcome], cli: CommandLine, tmp_path: Path
) -> None:
    assert forget("label:cats", more=("--keep-working-files",)).code == 0
    kept = read_record(tmp_path / "run").working_files.kept
    assert len(kept) >= 3
    assert cli("verify", tmp_path / "run").code == 0
    outcome = cli("purge", tmp_path / "run")
    assert (outcome.code, outcome.out) == (0, f"{len(kept)} working files removed from {tmp_path / 'run'}\n")
    assert not (tmp_path / "run" / "work").exists()
    assert cli("verify", tmp_path / "run").code == 0


@pytest.mark.draws
def test_the_page_can_be_written_anew(finished: RunResult, cli: CommandLine) -> None:
    page = finished.run / "report.html"
    before = page.read_bytes()
    page.unlink()
    outcome = cli("report", finished.run)
    assert (outcome.code, outcome.out) == (0, f"{page}\n")
    assert page.read_bytes() == before


def test_a_finished_run_is_evaluated_again_with_other_options(
    finished: RunResult, cli: CommandLine, tmp_path: Path
) -> None:
    outcome = cli(
        "evaluate",
        finished.run,
        "--out",
        tmp_path / "again",
        "--corruption",
        "random:0.5",
        "--seed",
        4,
        "--json",
    )
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)["results"]
    assert {(row["corruption"], row["seed"]) for row in rows} == {("random:0.5", 4)}
    assert {row["model"] for row in rows} == {"original", "unlearned"}
    assert counts(tmp_path / "again") == {"forget": 3, "retain": 5, "neutral": 2}
    assert cli("verify", tmp_path / "again").code == 0
    other = cli("evaluate", finished.run, "--out", tmp_path / "other", "--original", tmp_path / "absent")
    assert other.code == 2
    assert f"no model at {tmp_path / 'absent'}" in other.err


def test_what_is_no_run_cannot_be_evaluated_again(cli: CommandLine, tmp_path: Path) -> None:
    outcome = cli("evaluate", tmp_path, "--out", tmp_path / "again")
    assert outcome.code == 2
    assert "is not an efface run" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_training_from_the_command_line(cli: CommandLine, tiny: Path, photos: Path, tmp_path: Path) -> None:
    options = [text for text in SHORT_OPTIONS if text != "--set" and text.startswith("training.")]
    sets = [part for text in options for part in ("--set", text)]
    outcome = cli(
        "train",
        "--images",
        photos,
        "--without",
        "label:cats",
        "--like",
        tiny,
        "--out",
        tmp_path / "run",
        *sets,
    )
    assert (outcome.code, outcome.out) == (0, f"{tmp_path / 'run' / 'model'}\n"), outcome.err
    assert counts(tmp_path / "run") == {"forget": 3, "retain": 7, "neutral": 0}
    assert cli("verify", tmp_path / "run").code == 0


def test_a_process_of_its_own_prints_json_and_plain_progress(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    sets = ("--images", str(photos), "--forget", "label:cats", "--out", str(tmp_path / "run"))
    process = in_a_process("unlearn", str(tiny), *sets, *SHORT_OPTIONS, "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["run"] == str(tmp_path / "run")
    assert "Traceback" not in err
    assert "\x1b" not in err
    assert (tmp_path / "run" / "report.html").read_text().startswith("<!DOCTYPE html>")
