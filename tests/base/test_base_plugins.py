"""Things by name: built in, added by other packages, and left out with a warning that names the package."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from efface.corruptions.base import Corruption
from efface.corruptions.degradations import Blur
from efface.corruptions.rectangles import Centre
from efface.errors import InputError, PluginWarning
from efface.plugins import Registry, read_named
from efface.settings import Settings

LINES = ("efface.corruptions.rectangles:Centre", "efface.corruptions.degradations:Blur")


class Outside(Centre):
    """A corruption of another package."""

    name = "outside"


class SameName(Centre):
    name = "blur"


class Nameless(Centre):
    name = ""


class Sibling:
    """Of another registry of the same group."""

    name = "sibling"


def installed(
    monkeypatch: pytest.MonkeyPatch, *points: tuple[str, Callable[[], object]]
) -> Registry[type[Corruption]]:
    """A registry of two corruptions, read as if these entry points of `other 1.2` were installed."""
    dist = SimpleNamespace(name="other", version="1.2")
    made = [
        SimpleNamespace(name=name, load=load, value="other.module:Thing", dist=dist) for name, load in points
    ]
    monkeypatch.setattr(
        "efface.plugins.entry_points", lambda *, group: made if group == "efface.tried" else []
    )
    registry: Registry[type[Corruption]] = Registry(
        "corruption", "efface.tried", Corruption, LINES, siblings=(Sibling,)
    )
    return registry


def left_out(registry: Registry[type[Corruption]]) -> str:
    with pytest.warns(PluginWarning) as warned:
        assert dict(registry) == {"centre": Centre, "blur": Blur}
    assert len(warned) == 1
    return str(warned[0].message)


def test_built_in_things_come_in_the_order_of_their_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = installed(monkeypatch)
    assert list(registry) == ["centre", "blur"]
    assert registry["centre"] is Centre
    assert registry.distribution("centre") == ""


def test_what_is_no_name_is_not_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = installed(monkeypatch)
    assert "centre" in registry
    assert {"name": "centre"} not in registry
    assert None not in registry


def test_a_package_adds_one_behind_them(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = installed(monkeypatch, ("outside", lambda: Outside))
    assert list(registry) == ["centre", "blur", "outside"]
    assert registry.named("outside") is Outside
    assert registry.distribution("outside") == "other 1.2"
    assert list(registry.built_in) == ["centre", "blur"]


def test_what_cannot_be_imported_is_named_with_its_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = installed(
        monkeypatch,
        ("broken", lambda: importlib.import_module("no_such_package_anywhere")),
        ("outside", lambda: Outside),
    )
    with pytest.warns(PluginWarning) as warned:
        assert list(registry) == ["centre", "blur", "outside"]
    assert str(warned[0].message) == (
        "corruption 'broken' of other 1.2 is left out (other.module:Thing): ModuleNotFoundError: No module named "
        "'no_such_package_anywhere'. Mend, update or remove that package"
    )
    with pytest.raises(InputError, match=r"corruption 'broken' of other 1\.2 is left out"):
        registry.named("broken")


def test_a_name_of_efface_is_not_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    said = left_out(installed(monkeypatch, ("mine", lambda: SameName)))
    assert "the name 'blur' is taken by efface itself" in said


def test_of_two_packages_with_one_name_the_second_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = installed(monkeypatch, ("outside", lambda: Outside), ("also", lambda: Outside))
    with pytest.warns(PluginWarning, match=r"'also' .* the name 'outside' is taken by other 1\.2"):
        assert list(registry) == ["centre", "blur", "outside"]


@pytest.mark.parametrize("thing", [int, "outside", None, Settings])
def test_what_is_of_another_sort_is_left_out(thing: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "it is no Corruption" in left_out(installed(monkeypatch, ("outside", lambda: thing)))


def test_what_has_no_name_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "it has no name" in left_out(installed(monkeypatch, ("outside", lambda: Nameless)))


def test_what_is_for_another_registry_of_the_group_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(installed(monkeypatch, ("sibling", lambda: Sibling))) == ["centre", "blur"]


def test_unknown_names_are_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="unknown corruption 'center'; did you mean 'centre'"):
        installed(monkeypatch).named("center")


def test_something_can_be_added_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = installed(monkeypatch)
    with registry.added(Outside):
        assert registry["outside"] is Outside
    assert "outside" not in registry


def test_a_section_is_read_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(Settings):
        name: ClassVar[str] = "small"
        size: int = 1

    registry: Registry[type[Settings]] = Registry("thing", "efface.none", Settings, ())
    with registry.added(Small):
        assert read_named(registry, {"name": "small", "size": 3}) == Small(size=3)
        assert read_named(registry, "small") == read_named(registry, {}, default="small") == Small()
        with pytest.raises(InputError, match="thing small cannot be used"):
            read_named(registry, {"name": "small", "sise": 3})


def test_the_command_line_says_what_is_left_out(tmp_path: Path) -> None:
    """With a real distribution beside efface, whose module fails at import."""
    (tmp_path / "broken_package.py").write_text("raise RuntimeError('half installed')\n", encoding="utf-8")
    info = tmp_path / "broken_package-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: broken-package\nVersion: 0.3\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text("[efface.methods]\nbroken = broken_package:Method\n", "utf-8")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['efface', 'list', 'methods'];"
        "from efface.cli import main; main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "encoder-noise" in ended.stdout
    assert ended.stderr.startswith("efface: warning: method 'broken' of broken-package 0.3 is left out")
    assert "RuntimeError: half installed" in ended.stderr
