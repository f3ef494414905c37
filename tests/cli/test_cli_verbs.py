"""The command line itself: help, versions, exit codes, and nothing heavy before a verb runs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from efface.cli import options
from efface.errors import EXIT_CODES
from efface.jobs.kinds import KINDS
from efface.methods import GENERATOR_METHODS
from support.run_fixtures import CommandLine

VERBS = (
    "demo",
    "split",
    "plan",
    "train",
    "unlearn",
    "evaluate",
    "score",
    "report",
    "verify",
    "push",
    "delta",
    "apply",
    "purge",
    "list",
)

HEAVY = """
import sys
from efface.cli import main
for arguments in (["--help"], ["unlearn", "--help"], ["--version"], ["list", "--help"]):
    sys.argv = ["efface", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
    heavy = {"torch", "transformers", "diffusers", "accelerate", "sklearn", "skimage", "matplotlib"} & set(sys.modules)
    assert not heavy, (arguments, heavy)
"""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(cli: CommandLine, verb: str) -> None:
    outcome = cli(verb, "--help")
    assert outcome.code == 0
    assert f"efface {verb}" in outcome.out
    assert "--help" in outcome.out


def test_the_help_names_every_verb_and_every_exit_code(cli: CommandLine) -> None:
    outcome = cli("--help")
    assert outcome.code == 0
    together = " ".join(outcome.out.split())
    assert all(f" {verb} " in together for verb in VERBS)
    assert all(f"{code} {meaning}" in together for code, meaning in EXIT_CODES.items())
    assert cli("-h").out == outcome.out


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", HEAVY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, efface; print({'torch', 'transformers', 'numpy'} & set(sys.modules), dir(efface) != [])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set() True\n"


def test_the_package_has_no_attributes_that_it_does_not_name() -> None:
    import efface

    with pytest.raises(AttributeError, match="no attribute 'unlaern'"):
        _ = efface.unlaern
    assert all(callable(getattr(efface, name)) for name in efface.__all__)


def test_the_version_is_the_installed_one(cli: CommandLine) -> None:
    outcome = cli("--version")
    assert (outcome.code, outcome.out) == (0, f"efface {version('efface')}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["forget"],
        ["unlearn", "--froget", "x"],
        ["list", "colours"],
        ["verify"],
        ["unlearn", "--seed", "many"],
    ],
)
def test_what_the_command_line_does_not_know_exits_with_2(cli: CommandLine, arguments: list[str]) -> None:
    outcome = cli(*arguments)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("methods", set(GENERATOR_METHODS.built_in)),
        ("corruptions", {"centre:0.5 or centre:8x8b"}),
        ("generators", {"mae"}),
        (
            "metrics",
            {"hole_mse", "hole_psnr", "ssim", "feature_cosine", "frechet_distance", "kernel_distance"},
        ),
        ("extractors", {"built-in", "inception:PATH", "clip:PLACE", "dinov2:PLACE"}),
        (
            "settings",
            {"method[encoder-noise].alpha", "training.steps", "images.forget", "model.path", "seed"},
        ),
    ],
)
def test_everything_is_listed_for_people_and_machines(cli: CommandLine, what: str, names: set[str]) -> None:
    as_json = cli("list", what, "--json")
    assert as_json.code == 0
    rows = json.loads(as_json.out)
    assert names <= {row["name"] for row in rows}
    plain = cli("list", what)
    assert plain.code == 0
    assert len(plain.out.splitlines()) == len(rows)
    assert all(name in plain.out for name in names)


def test_every_listed_setting_says_what_it_is(cli: CommandLine) -> None:
    rows = json.loads(cli("list", "settings", "--json").out)
    assert len(rows) > 40
    assert [row["name"] for row in rows if not row["summary"]] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["unlearn", "m", "--forget", "x"], "give the run folder with --out RUN"),
        (["train", "--images", "x"], "give the run folder with --out RUN"),
        (["evaluate", "--forget", "x"], "give a folder for the evaluation with --out DIR"),
        (["unlearn", "m", "--out", "r", "--method", "encoder-nois"], "did you mean 'encoder-noise'?"),
        (["unlearn", "m", "--out", "r", "--corruption", "center:0.5"], "did you mean 'centre'?"),
        (["unlearn", "m", "--out", "r", "--set", "method.alhpa=1"], "did you mean 'alpha'?"),
        (["unlearn", "m", "--out", "r", "--set", "training.stesp=1"], "did you mean 'steps'?"),
        (["unlearn", "m", "--out", "r", "--set", "evaluaton.seed=1"], "did you mean 'evaluation'?"),
        (["unlearn", "m", "--out", "r", "--set", "alpha"], "write it as key=value"),
        (["unlearn", "m", "--out", "r", "--duplicates", "keep"], "images.duplicates"),
        (["unlearn", "m", "--out", "r", "--budget", "soon"], "write it as 500steps, 90s, 10m or 1.5h"),
        (["train", "--images", "x", "--out", "r", "--size", "tny"], "did you mean 'tiny'?"),
        (["plan", "m", "--extractor", "clp:x"], "nothing is said to be forgotten"),
        (["demo", "--method", "max-los"], "did you mean 'max-loss'?"),
        *(
            (call.split(), "nowhere: no such file or folder")
            for call in (
                "purge nowhere",
                "report nowhere",
                "verify nowhere",
                "lineage nowhere",
                "delta nowhere",
                "push nowhere hub:a/b",
                "apply m nowhere --out r",
                "evaluate nowhere --out r",
                "report --compare nowhere m --out a.html",
                "evaluate --original nowhere --forget x --out r",
                "train --images x --from nowhere --out r",
                "plan nowhere --forget x --set model.network=a:b --set model.image_size=8",
            )
        ),
        (["unlearn", "m", "--out", "r", "--config", "absent.yaml"], "absent.yaml cannot be read"),
    ],
)
def test_wrong_words_are_refused_with_what_to_do_and_change_nothing(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cli(*arguments)
    assert outcome.code == 2
    assert said in outcome.out + outcome.err
    assert "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_an_option_says_what_its_setting_says_of_either_kind_of_model(cli: CommandLine) -> None:
    told = " ".join(cli("unlearn", "--help").out.split())
    for kind in KINDS.values():
        for name in ("budget", "retrained", "require"):
            assert str(kind.configs["unlearn"].model_fields[name].description)[1:] in told


def test_an_option_that_stands_for_no_setting_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--wrong: there is no setting images.wrong"):

        @options.configured("unlearn", wrong="images.wrong")
        def verb(values: dict[str, object]) -> None:
            """Nothing."""
