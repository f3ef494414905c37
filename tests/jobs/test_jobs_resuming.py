"""What finished parts left on disk is looked at before a run goes on: mended where it can be, refused where not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import efface
from efface.errors import RunRefused
from efface.jobs import concluding
from efface.jobs.run import RunResult
from efface.runs.verification import verify
from support.run_making import SHORT


class Crash(BaseException):
    """Ends a run as nothing that efface expects does."""


@pytest.fixture(scope="module")
def call(tiny: Path, photos: Path) -> Callable[[Path], RunResult]:
    def unlearn(out: Path) -> RunResult:
        sets = {"forget": photos / "cats", "retain": photos / "dogs"}
        return efface.unlearn(tiny, **sets, out=out, **SHORT)

    return unlearn


@pytest.fixture(scope="module")
def measured(call: Callable[[Path], RunResult], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed when all was measured and nothing removed."""
    out = tmp_path_factory.mktemp("measured") / "run"

    def crash(*_: object) -> None:
        raise Crash

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(concluding, "purge", crash)
        with pytest.raises(Crash):
            call(out)
    return out


@pytest.fixture
def copied(measured: Path, tmp_path: Path) -> Path:
    return shutil.copytree(measured, tmp_path / "run")


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("damage", [Path.unlink, shortened], ids=["lost", "changed"])
@pytest.mark.parametrize("name", ["manifests/forget.jsonl", "results.json", "per_image.csv"])
def test_a_manifest_or_result_that_is_no_longer_what_was_written_is_written_again(
    call: Callable[[Path], RunResult], measured: Path, copied: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(copied / name)
    result = call(copied)
    for path in (*measured.glob("*.csv"), *measured.glob("manifests/*"), measured / "results.json"):
        assert (copied / path.relative_to(measured)).read_bytes() == path.read_bytes()
    assert all(check.passed for check in verify(result.run))


@pytest.mark.parametrize("damage", [Path.unlink, shortened], ids=["lost", "changed"])
def test_a_model_that_is_no_longer_what_was_written_is_refused(
    call: Callable[[Path], RunResult], copied: Path, damage: Callable[[Path], None]
) -> None:
    damage(copied / "model" / "model.safetensors")
    with pytest.raises(RunRefused, match=r"model/model\.safetensors in .*no longer what this run wrote"):
        call(copied)
