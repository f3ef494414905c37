"""The chain of runs behind a model: followed back, held against digests, and honest about where it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import efface
from efface.documents import yaml_text
from efface.errors import InputError
from efface.evaluation.drift import retrain_due
from efface.evaluation.results import Row, write_results
from efface.jobs.run import RunResult
from efface.runs.lineage import follow
from support.found_runs import a_requirement
from support.report_runs import a_record, described, images_facts, write_sealed
from support.run_fixtures import CommandLine
from support.run_making import SHORT


def row(model: Any, set_name: Any, value: float) -> Row:
    empty: dict[str, Any] = dict.fromkeys(Row.__dataclass_fields__)
    given = {
        "direction": "down",
        "unit": "",
        "n": 8,
        "crops": 1,
        "corruption": "centre:0.5",
        "seed": 0,
        "samples": 1,
    }
    return Row(**{**empty, **given, "model": model, "set": set_name, "metric": "hole_mse", "value": value})


def make_run(folder: Path, model: Path | str, before: str, after: str, /, **other: Any) -> Path:
    """A finished run of three images as its files show it; retain errors 0.10 before and 0.102 behind it."""
    folder.mkdir(parents=True)
    (folder / "model").mkdir()
    (folder / "run.key").write_text("00" * 32, encoding="ascii")
    (folder / "config.yaml").write_text(yaml_text({"model": {"path": str(model)}}), encoding="utf-8")
    kind = other.pop("kind", "unlearning")
    rows = [
        row("original", "retain", 0.10),
        row("unlearned", "retain", 0.102),
        row("unlearned", "forget", 0.18),
    ]
    rows += [row("retrained", "forget", 0.2)]
    write_results(folder, rows)
    facts = {"description": described()}
    path = {name: {"weights": weights, "files": {}} for name, weights in other.pop("path", {}).items()}
    values = a_record(
        kind=kind,
        request={"id": folder.name.upper()},
        model={
            "before": {"weights": before, **facts},
            "after": {"weights": after, "files": {}, **facts},
            "path": path,
        },
        images=images_facts({"forget": 3}),
        method=a_record()["method"] | {"name": "fine-tune"},
    )
    write_sealed(folder, values | other)
    return folder


@pytest.fixture
def chain(tmp_path: Path) -> list[Path]:
    """Runs a, b and c, each from the model of the one before; a began with a model that no run made."""
    (tmp_path / "bought").mkdir()
    a = make_run(tmp_path / "runs" / "a", tmp_path / "bought", "w0", "w1")
    b = make_run(tmp_path / "runs" / "b", a / "model", "w1", "w2")
    c = make_run(tmp_path / "runs" / "c", b / "model", "w2", "w3")
    return [a, b, c]


def test_a_chain_is_followed_from_the_model_to_its_beginning(chain: list[Path]) -> None:
    found = follow(chain[-1] / "model")
    assert [link.run for link in found.links] == chain
    assert [link.request for link in found.links] == ["A", "B", "C"]
    assert [(link.method, link.forgotten, link.claim) for link in found.links] == [
        ("fine-tune", 3, "empirical")
    ] * 3
    assert [link.measured.cost for link in found.links] == pytest.approx([1.02] * 3)
    assert (found.whole, found.breaks) == (True, ())
    assert found.begins.endswith(
        "bought, a model that no run made: what was done to it before is in no record"
    )
    assert follow(chain[-1]) == found


def test_the_advice_speaks_of_the_whole_chain(chain: list[Path]) -> None:
    history = follow(chain[-1]).history()
    assert [one.name for one in history.requests] == ["request 1 (A)", "request 2 (B)", "request 3 (C)"]
    advice = retrain_due(history)
    assert advice.cost == pytest.approx(1.02**3)
    assert advice.when == "now"
    assert retrain_due(follow(chain[0]).history()).when == "not yet"


def test_a_chain_that_begins_with_a_training_says_which(tmp_path: Path) -> None:
    trained = make_run(tmp_path / "trained", "none", "-", "w0", kind="training")
    run = make_run(tmp_path / "a", trained / "model", "w0", "w1")
    found = follow(run)
    assert (found.whole, found.begins) == (True, f"trained from fresh weights by {trained}")
    with pytest.raises(InputError, match="of kind training"):
        follow(trained)


def test_a_model_that_was_put_in_anothers_place_breaks_the_chain(chain: list[Path], tmp_path: Path) -> None:
    shutil.rmtree(chain[1])
    make_run(chain[1], chain[0] / "model", "w1", "other")
    found = follow(chain[2])
    assert [link.run for link in found.links] == chain[2:]
    assert not found.whole
    assert found.breaks == (
        f"{chain[1]}/model is not the model that {chain[2]} began with: its record names other weights",
    )


def test_a_folder_that_is_gone_ends_the_chain_without_a_break(chain: list[Path]) -> None:
    shutil.rmtree(chain[0])
    found = follow(chain[2])
    assert [link.run for link in found.links] == chain[1:]
    assert (found.whole, found.breaks) == (False, ())
    assert "is no folder here" in found.begins


def test_runs_that_were_moved_together_are_found_beside_each_other(chain: list[Path], tmp_path: Path) -> None:
    shutil.move(tmp_path / "runs", tmp_path / "archive")
    found = follow(tmp_path / "archive" / "c")
    assert [link.run.name for link in found.links] == ["a", "b", "c"]
    assert (found.whole, found.breaks) == (True, ())


def test_an_unfinished_run_is_a_break(chain: list[Path]) -> None:
    (chain[1] / "record.json").unlink()
    found = follow(chain[2])
    assert len(found.links) == 1
    assert "it is no run, or not finished" in found.breaks[0]


def test_a_circle_is_left_where_it_closes(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    make_run(a, b / "model", "w", "w")
    make_run(b, a / "model", "w", "w")
    found = follow(a)
    assert [link.run.name for link in found.links] == ["b", "a"]
    assert "itself comes from" in found.breaks[0]


def test_an_edited_record_and_edited_results_are_named(chain: list[Path]) -> None:
    record = json.loads((chain[0] / "record.json").read_text())
    record["images"]["sets"]["forget"]["count"] = 1
    (chain[0] / "record.json").write_text(json.dumps(record))
    results = (chain[1] / "results.json").read_text()
    (chain[1] / "results.json").write_text(results.replace("0.102", "0.100"))
    found = follow(chain[2])
    assert len(found.links) == 3
    assert found.breaks == (
        f"{chain[0]}/record.json was changed after it was written",
        f"{chain[1]}/results.json is not the one of which the record speaks; its figures are not used",
    )
    assert found.links[1].measured.cost is None
    assert retrain_due(found.history()).when == "not measurable"


def test_drift_is_counted_from_the_last_retraining(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", "somewhere", "w0", "w1")
    b = make_run(tmp_path / "b", a / "model", "w1", "w2", claim={"level": "exact", "words": ""})
    c = make_run(tmp_path / "c", b / "model", "w2", "w3")
    assert retrain_due(follow(c).history()).cost == pytest.approx(1.02)


def test_a_requirement_that_was_not_met_is_part_of_the_history(tmp_path: Path) -> None:
    verdicts = [
        a_requirement("forget-error>=0.95x", "not met"),
        a_requirement("detectability<=0.05", "not measurable"),
        a_requirement("retain-error<=1.05x", "met"),
    ]
    judgement = {"words": "", "summary": "", "outcomes": verdicts}
    run = make_run(tmp_path / "a", "somewhere", "w0", "w1", requirements=judgement)
    (link,) = follow(run).links
    assert link.measured.unmet == ("forget-error>=0.95x",)
    assert link.measured.unmeasured == ("detectability<=0.05",)


def test_a_further_model_is_followed_by_its_own_weights_and_has_no_figures(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", "somewhere", "w0", "w1", path={"0.5": "half"})
    (a / "path" / "0.5").mkdir(parents=True)
    b = make_run(tmp_path / "b", a / "path" / "0.5", "half", "w2")
    found = follow(b)
    assert [link.after for link in found.links] == ["half", "w2"]
    assert [link.measured.cost is None for link in found.links] == [True, False]


def test_an_evaluation_of_the_latest_model_gives_the_cost_directly(chain: list[Path], tmp_path: Path) -> None:
    sources = {"original": "w0", "unlearned": "w3"}
    evaluation = make_run(tmp_path / "evaluation", "-", "w0", "-", kind="evaluation", sources=sources)
    history = follow(chain[2]).history([evaluation])
    assert history.direct == pytest.approx(1.02)
    (earlier,) = history.earlier
    assert earlier.level == pytest.approx(0.9)
    with pytest.raises(InputError, match="no evaluation of this model"):
        follow(chain[1]).history([evaluation])


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no finished run, nor the model of one"):
        follow(tmp_path)


def test_two_real_requests_are_one_chain(
    finished: RunResult, photos: Path, tmp_path: Path, cli: CommandLine
) -> None:
    second = efface.unlearn(
        finished.model,
        forget="label:birds",
        retain="label:dogs",
        images=photos,
        out=tmp_path / "second",
        **SHORT,
    )
    found = follow(second.model)
    assert [link.run for link in found.links] == [finished.run, second.run]
    assert found.links[0].after == found.links[1].before
    assert found.breaks == ()
    assert all(link.measured.cost for link in found.links)
    outcome = cli("lineage", second.run, "--limit", "9x", "--json")
    shown = json.loads(outcome.out)
    assert (outcome.code, shown["limits"]["retain"]) == (0, 9.0)
    assert [link["request"] for link in shown["requests"]] == ["7", None]
    assert shown["advice"]["cost"] == pytest.approx(
        found.links[0].measured.cost * found.links[1].measured.cost  # type: ignore[operator]
    )
    assert f"  1  {finished.run}: request 7, encoder-noise, 3 images" in cli("lineage", second.run).out
    assert cli("lineage", second.run, "--limit", "much").code == 2
