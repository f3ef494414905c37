"""Settings: strict, with the nearest valid name, and overrides from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.documents import read_yaml
from efface.errors import InputError
from efface.generators.families import ModelSettings
from efface.settings import Settings, unknown_name, with_overrides


class Inner(Settings):
    alpha: float = 1.0
    norm: str = "l2"


class Outer(Settings):
    size: int
    inner: Inner = Inner()
    model: ModelSettings | None = None


def refused(values: object) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        Outer.read(values)  # type: ignore[arg-type]
    return caught.value.problems


def test_an_unknown_key_is_refused_with_the_nearest_name() -> None:
    assert refused({"size": 1, "innner": {}}) == (
        "unknown setting 'innner'; did you mean 'inner'? Valid: inner, model, size",
    )


def test_an_unknown_nested_key_is_named_by_its_place() -> None:
    assert refused({"size": 1, "inner": {"alhpa": 2}}) == (
        "unknown setting 'inner.alhpa'; did you mean 'alpha'? Valid: alpha, norm",
    )


def test_a_section_that_may_be_absent_offers_its_names_too() -> None:
    (problem,) = refused({"size": 1, "model": {"path": "x", "revison": "y"}})
    assert problem.startswith("unknown setting 'model.revison'; did you mean 'revision'?")


def test_all_faults_are_named_at_once() -> None:
    problems = refused({"inner": {"alpha": "much", "beta": 1}, "extra": 0})
    assert len(problems) == 4
    assert "size: it is needed and was not given" in problems
    assert any(problem.startswith("inner.alpha: ") and "'much'" in problem for problem in problems)
    assert any("'inner.beta'" in problem for problem in problems)
    assert any("'extra'" in problem for problem in problems)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "a lot", None])
def test_numbers_must_be_finite_numbers(value: object) -> None:
    (problem,) = refused({"size": 1, "inner": {"alpha": value}})
    assert problem.startswith("inner.alpha: ")


def test_settings_do_not_change_once_read() -> None:
    settings = Outer.read({"size": 1})
    with pytest.raises(ValueError, match="frozen"):
        settings.size = 2


def test_a_name_like_no_other_gets_no_hint() -> None:
    assert unknown_name("method", "zzz", ["alpha"]) == "unknown method 'zzz'. Valid: alpha"


def test_overrides_are_read_as_yaml_and_leave_the_rest() -> None:
    before = {"method": {"name": "fine-tune", "alpha": 1}}
    after = with_overrides(before, ["method.alpha=0.5", "a.b.c=[1, 2]", "flag=true", "text=x=y", "none="])
    assert after == {
        "method": {"name": "fine-tune", "alpha": 0.5},
        "a": {"b": {"c": [1, 2]}},
        "flag": True,
        "text": "x=y",
        "none": None,
    }
    assert before == {"method": {"name": "fine-tune", "alpha": 1}}


@pytest.mark.parametrize("override", ["alpha", "=1", "a..b=1", "size.b=1", "a=[1"])
def test_an_override_that_cannot_be_read_is_quoted(override: str) -> None:
    with pytest.raises(InputError) as caught:
        with_overrides({"size": 1}, [override])
    assert repr(override) in str(caught.value)


def test_yaml_that_would_build_an_object_is_refused_and_builds_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    config = tmp_path / "config.yaml"
    config.write_text(f'seed: !!python/object/apply:os.system ["touch {trace}"]\n')
    with pytest.raises(InputError, match="not valid YAML"):
        read_yaml(config)
    with pytest.raises(InputError, match="not valid YAML"):
        with_overrides({}, [f'seed=!!python/object/apply:os.system ["touch {trace}"]'])
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"- 1\n- 2\n", "not a list"), (b"a: [1\n", "not valid YAML"), (b"a: \xff\n", "not valid YAML")],
)
def test_a_config_file_that_holds_no_settings_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_yaml(config)
    assert str(config) in str(caught.value)
    assert said in str(caught.value)


def test_an_empty_config_file_is_no_settings(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("# nothing yet\n")
    assert read_yaml(tmp_path / "config.yaml") == {}


def test_a_missing_config_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml cannot be read: No such file"):
        read_yaml(tmp_path / "absent.yaml")


def test_a_text_that_no_file_can_hold_is_refused_with_its_place() -> None:
    with pytest.raises(InputError) as caught:
        Outer.read({"name": "caf\udce9", "inner": {"many": ["é", "\udcff"]}})
    said = str(caught.value)
    assert "name: the text is not UTF-8" in said
    assert "inner.many.1: the text is not UTF-8" in said
    assert said.isprintable() or "\n" in said
