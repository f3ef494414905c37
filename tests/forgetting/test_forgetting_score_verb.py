"""`efface score` from files to figures, and its page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from efface.cli.score import score
from efface.errors import InputError
from efface.forgetting.comparison import compare
from efface.forgetting.facts import facts_of
from efface.reports.score_page import write_score_page

app = typer.Typer()
app.command("score")(score)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    random = np.random.default_rng(0)
    arrays = {
        "unlearned": random.normal(0.5, 1.5, (16, 30)),
        "retrained": random.normal(0, 1.5, (32, 30)),
        "original": random.normal(4, 1.5, (16, 30)),
    }
    arrays["unlearned"][:, 7] += 90
    paths = {}
    for name, values in arrays.items():
        paths[name] = tmp_path / f"{name}.npy"
        np.save(paths[name], values)
    return paths


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def options(files: dict[str, Path], *names: str) -> list[object]:
    return [part for name in names for part in (f"--{name}", files[name])]


@pytest.mark.parametrize("mode", ["official", "robust"])
def test_json_is_what_the_library_finds(files: dict[str, Path], mode: str) -> None:
    names = ("unlearned", "retrained", "original")
    text = run(*options(files, *names), "--retain-accuracy", 0.9, 0.95, "--mode", mode, "--json")
    found = compare(*(np.load(files[name]) for name in names), retain_accuracy=(0.9, 0.95), mode=mode)
    assert json.loads(text) == facts_of(found).as_dict()


def test_people_read_the_score_beside_its_ceiling(files: dict[str, Path]) -> None:
    text = run(*options(files, "unlearned", "retrained", "original"), "--test-accuracy", 80, 79)
    assert re.search(r"^score \(official\) +0\.\d{4}", text, re.M)
    for line in ("ceiling", "doing nothing", "floor", "final score"):
        assert re.search(rf"^{line} +\d", text, re.M)
    assert "16 models a side" in text


def test_the_page_stands_alone_and_names_the_worst_example(files: dict[str, Path], tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("\n".join(f"<photo {place}>" for place in range(30)), encoding="utf-8")
    out = tmp_path / "out"
    run(*options(files, "unlearned", "retrained"), "--ids", ids, "--out", out)
    page = (out / "score.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["'](?!#)""", page)
    assert "<script" not in page
    assert page.count("<svg") == 2
    worst = re.findall(r'<th scope="row" class="code">(.*?)</th><td>(.*?)</td>', page)
    assert worst[0] == ("&lt;photo 7&gt;", "cap (50)")
    for words in ("Ceiling", "Floor", "Power"):
        assert words in page
    written = json.loads((out / "score.json").read_text())
    assert written["epsilon"][7] == 50
    assert (written["worst"][0]["name"], written["named"]) == ("<photo 7>", True)
    assert sum(bar["count"] for bar in written["bars"]) + written["capped"] == written["examples"] == 30
    assert written["median_epsilon"] == np.median(written["epsilon"])


def test_the_page_says_when_nothing_can_be_shown(tmp_path: Path) -> None:
    u, r = (np.random.default_rng(seed).normal(0, 1.5, (8, 1)) for seed in (0, 1))
    found = compare(u, r, mode="robust")
    page = write_score_page(facts_of(found), tmp_path).read_text(encoding="utf-8")
    assert "ot measurable at this N" in page
    assert "cannot show anything" in page


def test_names_must_fit_the_examples() -> None:
    random = np.random.default_rng(1)
    found = compare(random.normal(size=(8, 3)), random.normal(size=(8, 3)))
    with pytest.raises(InputError, match="2 names for 3 examples"):
        facts_of(found, ["a", "b"])


def test_all_unreadable_files_are_named(files: dict[str, Path], tmp_path: Path) -> None:
    files["original"].write_text("no array")
    arguments = ["--unlearned", tmp_path / "absent.npy", *options(files, "retrained", "original")]
    with pytest.raises(InputError) as caught:
        run(*arguments)
    assert "absent.npy cannot be read: No such file" in str(caught.value)
    assert "it is not a .npy file of numbers" in str(caught.value)


def test_pickled_arrays_are_not_executed(files: dict[str, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"not a \.npy file of numbers"):
        run("--unlearned", tmp_path / "objects.npy", *options(files, "retrained"))


def test_models_and_examples_that_repeat_are_said(files: dict[str, Path]) -> None:
    assert "note:" not in run(*options(files, "unlearned", "retrained", "original"))
    u, r = (np.load(files[name]) for name in ("unlearned", "retrained"))
    u[4:] = u[3]
    r[5] = u[0]
    u[:, 9], r[:, 9] = u[:, 8], r[:, 8]
    np.save(files["unlearned"], u)
    np.save(files["retrained"], r)
    facts = facts_of(compare(u, r))
    assert [note.partition(";")[0] for note in facts.notes] == [
        "unlearned: only 4 of 16 models differ, the others repeat them",
        "1 of the models stand on both sides, unlearned and retrained",
        "1 of 30 examples have the values of another one in every model: the same images twice",
    ]
    text = run(*options(files, "unlearned", "retrained"), "--out", files["unlearned"].parent / "page")
    page = (files["unlearned"].parent / "page" / "score.html").read_text(encoding="utf-8")
    for note in facts.notes:
        assert f"note: {note}" in text
        assert note[1:] in page


def test_saturated_values_do_not_count_as_repeated() -> None:
    u, r = np.full((8, 12), 103.5), np.random.default_rng(0).normal(size=(16, 12))
    r[:, :4] = 103.5
    assert compare(u, r).notes == ()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda z: 1 / (1 + np.exp(-z)), "all values lie between 0 and 1, as probabilities do"),
        (lambda z: -np.log1p(np.exp(-z)), "as if these were logarithms of probabilities"),
    ],
)
def test_probabilities_in_the_place_of_confidences_are_said(made: Callable[[Any], Any], said: str) -> None:
    random = np.random.default_rng(0)
    (note,) = compare(made(random.normal(3, 1, (16, 40))), made(random.normal(2, 1, (32, 40)))).notes
    assert said in note


@pytest.mark.parametrize("name", ["unlearned", "original"])
def test_the_same_models_on_both_sides_are_refused(files: dict[str, Path], name: str) -> None:
    np.save(files["retrained"], np.load(files[name]))
    with pytest.raises(InputError, match=f"{name} and retrained are the same array"):
        run(*options(files, "unlearned", "retrained", "original"))


@pytest.mark.parametrize("mode", ["official", "robust"])
def test_a_cap_is_said_as_a_bound(tmp_path: Path, mode: str) -> None:
    random = np.random.default_rng(0)
    paths = {"unlearned": tmp_path / "u.npy", "retrained": tmp_path / "r.npy"}
    np.save(paths["unlearned"], random.normal(6, 1, (16, 30)))
    np.save(paths["retrained"], random.normal(0, 1, (32, 30)))
    text = run(*options(paths, *paths), "--mode", mode, "--out", tmp_path / "out")
    line = next(line for line in text.splitlines() if line.startswith("equivalent shift"))
    assert re.search(r"shift +>= 4 +(\d\.\d\d to )?>= 4, in standard", line)
    assert "AUC >= 0.99" in line
    page = (tmp_path / "out" / "score.html").read_text(encoding="utf-8")
    assert "Equivalent shift: &gt;= 4 standard" in page
    assert ("Median epsilon at the cap (50)" in page) == (mode == "official")
    written = json.loads((tmp_path / "out" / "score.json").read_text())["apart"]
    assert (written["at_cap"], written["shift"]) == (True, 4)


def test_a_shift_below_the_cap_is_a_number(files: dict[str, Path]) -> None:
    text = run(*options(files, "unlearned", "retrained"))
    (line,) = (line for line in text.splitlines() if line.startswith("equivalent shift"))
    assert " 0.50  > 0 to 0.84, in standard deviations" in line
    apart = compare(*(np.load(files[name]) for name in ("unlearned", "retrained"))).apart
    assert not apart.at_cap
    assert apart.model_copy(update={"low": 3.5, "high": 4.0}).interval_words == "3.50 to >= 4"


@pytest.mark.parametrize("mode", ["official", "robust"])
def test_examples_below_the_arrays_precision_are_counted(tmp_path: Path, mode: str) -> None:
    random = np.random.default_rng(0)

    def side(models: int) -> np.ndarray[Any, Any]:
        near = 0.1 + random.integers(0, 2, (models, 5)) * 1e-8
        far = 1000 + random.integers(0, 4, (models, 5)) * 6.1e-5
        wide = random.normal(0, 1, (models, 10))
        within_grid = 2 + random.uniform(0, 0.009, (models, 2))
        parts = [near, far, np.full((models, 5), 3.0), wide, within_grid]
        return np.concatenate(parts, axis=1).astype(np.float32)

    paths = {"unlearned": tmp_path / "u.npy", "retrained": tmp_path / "r.npy"}
    np.save(paths["unlearned"], side(16))
    np.save(paths["retrained"], side(32))
    text = run(*options(paths, *paths), "--mode", mode, "--out", tmp_path / "out")
    page = (tmp_path / "out" / "score.html").read_text(encoding="utf-8")
    for told in (text, page.replace("&#39;", "'")):
        assert "15 of 27 examples cannot be resolved at the arrays' precision" in told
        assert ("the official rule says nothing of 2 further examples" in told.lower()) == (
            mode == "official"
        )
    assert json.loads((tmp_path / "out" / "score.json").read_text())["imprecise"] == list(range(15))
