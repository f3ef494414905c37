"""Networks built by code that the user names, from an importable module or an entry point."""

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from torch import nn

from efface.errors import InputError
from efface.factories import build, is_installed

CODE = """
    from torch import nn
    ready = nn.Linear(1, 1)
    class Holder:
        network = nn.Linear
    def net(width, depth=1):
        return nn.Sequential(*[nn.Conv2d(3, width, 3) for _ in range(depth)])
    def broken(width=1):
        raise RuntimeError("no such width")
    def quits():
        raise SystemExit("bye")
    def number():
        return 7
    def kind():
        return nn.ReLU
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with modules of one's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_nets.py").write_text(dedent(CODE))
    (tmp_path / "own_needs.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "own_fault.py").write_text("1 / 0\n")
    (tmp_path / "own-package.egg-info").mkdir()
    (tmp_path / "own-package.egg-info" / "PKG-INFO").write_text("Name: own-package\nVersion: 1\n")
    lines = "[efface.networks]\nplain-net = own_nets:net\nlost-net = own_nets:gone\n"
    (tmp_path / "own-package.egg-info" / "entry_points.txt").write_text(lines)
    yield tmp_path
    for name in ("own_nets", "own_needs", "own_fault"):
        sys.modules.pop(name, None)


def test_a_factory_of_the_working_directory_is_called_with_its_arguments(here: Path) -> None:
    network = build("own_nets:net", {"width": 4, "depth": 2})
    assert isinstance(network, nn.Sequential)
    assert [layer.out_channels for layer in network if isinstance(layer, nn.Conv2d)] == [4, 4]
    assert str(here) not in sys.path


def test_weights_follow_from_the_seed_and_leave_the_global_state(here: Path) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (
        build("own_nets:Holder.network", {"in_features": 2, "out_features": 2}, seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.weight, second.weight)  # type: ignore[arg-type]
    assert not torch.equal(first.weight, other.weight)  # type: ignore[arg-type]
    assert torch.equal(torch.rand(3), wanted)


def test_an_entry_point_gives_a_network_a_plain_name(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(here))
    assert is_installed("plain-net")
    assert not is_installed("own_nets:net")
    assert isinstance(build("plain-net", {"width": 2}), nn.Sequential)
    with pytest.raises(InputError, match=r"network lost-net \(own_nets:gone\) cannot be imported"):
        build("lost-net", {})
    with pytest.raises(InputError, match="unknown network 'plain-nets'; did you mean 'plain-net'"):
        build("plain-nets", {})


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("nowhere", {}, "unknown network 'nowhere'.*write it as package.module:build"),
        ("nowhere.at_all:net", {}, "no module nowhere, neither installed nor in the working directory"),
        ("own_nets:", {}, "names no factory"),
        ("../own_nets:net", {}, "names no factory"),
        ("own_nets:nett", {"width": 1}, "unknown name 'nett'; did you mean 'net'.*own_nets.py"),
        ("own_nets:__name__", {}, "of the type str, which cannot be called"),
        ("own_nets:net", {}, "missing a required argument: 'width'; it takes .width, depth=1"),
        ("own_nets:net", {"width": 2, "deep": 1}, "got an unexpected keyword argument 'deep'"),
        ("own_nets:net", {"width": "wide"}, "called with width='wide': TypeError"),
        ("own_nets:broken", {}, "called with no arguments: RuntimeError: no such width"),
        ("own_nets:quits", {}, "SystemExit: bye"),
        ("own_nets:number", {}, "returns int, not a torch.nn.Module"),
        ("own_nets:kind", {}, "returns the class ReLU"),
        ("own_needs:net", {}, "own_needs needs nothing_of_that_name, which is not installed"),
        ("own_fault:net", {}, "own_fault cannot be imported: ZeroDivisionError: division by zero"),
    ],
)  # fmt: skip
def test_every_fault_is_one_clear_sentence(
    here: Path, name: str, arguments: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said) as raised:
        build(name, arguments)  # type: ignore[arg-type]
    assert len(raised.value.problems) == 1
