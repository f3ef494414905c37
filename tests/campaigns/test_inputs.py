"""Mutated pictures, lists, configs, models, arrays, runs and benchmarks: a right result or one clear message."""

from __future__ import annotations

import functools
import io
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from campaigns.conftest import LONG
from campaigns.errands import Errand, carry_out, unlike, what_lies_in
from campaigns.judging import Verdict, judged
from campaigns.mutations import altered, damaged
from efface.errors import Stopped
from support.run_making import save_photo

CASES = int(os.environ.get("CAMPAIGN_CASES") or (5000 if LONG else 250))
FORMATS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif", "TIFF": "tif", "BMP": "bmp"}
SUFFIXES = (*FORMATS.values(), "PNG", "jpeg", "heic", "txt", "npy")
LISTS = ("txt", "csv", "tsv", "json", "jsonl")
BENCHES = ("bench classifiers", "bench generators")
COUNTS: dict[str, Counter[str]] = {}

Test = Callable[..., None]


def cases(share: float) -> Callable[[Test], Test]:
    """Tries so large a share of all cases; the seed is pytest's --hypothesis-seed."""
    return settings(
        max_examples=round(share * CASES),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module", autouse=True)
def counted(tally: Callable[[str], None]) -> Iterator[None]:
    yield
    for what, verdicts in COUNTS.items():
        ends = ", ".join(f"{count} {end}" for end, count in sorted(verdicts.items()))
        tally(f"mutated {what}: {verdicts.total()} cases: {ends}")


def count(what: str, verdict: Verdict) -> Verdict:
    read = verdict.code == 0 or "the config was read" in verdict.err
    end = "right" if read else f"refused with {verdict.code}"
    COUNTS.setdefault(what, Counter())[end] += 1
    return verdict


@dataclass(frozen=True)
class Workshop:
    """What the inputs are made from, and an errand whose run is finished and half done."""

    model: Path
    photos: Path
    errand: Errand
    finished: Path
    stopped: tuple[Path, ...]

    @property
    def pictures(self) -> list[Path]:
        return sorted((self.photos / "cats").iterdir())

    def listed(self, ending: str, content: bytes) -> Path:
        """A list beside the photos: a table names nothing outside of its own folder."""
        path = self.photos.parent / f"list.{ending}"
        path.write_bytes(content)
        return path

    def planned(self, forget: object, model: Path | None = None) -> Verdict:
        """The plan of forgetting these images."""
        return judged(
            "plan", model or self.model, "--forget", forget, "--retain", self.photos / "dogs", "--json"
        )


@pytest.fixture(scope="module")
def workshop(
    errands: dict[str, Errand], finished_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workshop:
    errand, folder, stopped = errands["unlearn generator"], tmp_path_factory.mktemp("workshop"), []
    acts = carry_out(errand, made(folder / "whole"), folder / "scratch").acts
    for at in range(len(acts) // 4, len(acts), len(acts) // 4):
        carry_out(errand, made(folder / f"stopped-{at}"), folder / "scratch", "kill", at)
        stopped.append(folder / f"stopped-{at}" / "out")
    model, photos = Path(str(errand.arguments[1])), Path(str(errand.arguments[3]))
    return Workshop(model, photos, errand, finished_run, tuple(stopped))


def made(folder: Path) -> Path:
    """`out` in a new folder."""
    folder.mkdir()
    return folder / "out"


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan tries no steps: it is the input that matters."""
    from efface.jobs import generator_plan
    from efface.training.loop import Trainer

    monkeypatch.setattr(Trainer, "time_steps", lambda *_: 1.0)
    monkeypatch.setattr(generator_plan, "_evaluation_seconds", lambda *_: 1.0)


@pytest.fixture
def opened_once(monkeypatch: pytest.MonkeyPatch, untimed: None) -> None:
    """The model is read once for all cases."""
    from efface.jobs import generator

    load = generator.load_generator
    once = functools.cache(load)
    monkeypatch.setattr(
        generator, "load_generator", lambda model: once(model) if isinstance(model, str) else load(model)
    )


@functools.cache
def encoded() -> dict[str, bytes]:
    """One picture in every format."""
    written = {}
    with tempfile.TemporaryDirectory() as folder:
        picture = Image.open(save_photo(Path(folder, "one.png"), 999))
        for name in FORMATS:
            file = io.BytesIO()
            picture.save(file, name)
            written[name] = file.getvalue()
    return written


def sizes(verdict: Verdict) -> dict[str, int]:
    """The sizes of the sets in a plan that succeeded."""
    sets: dict[str, int] = json.loads(verdict.out)["sets"]
    return sets


@cases(0.28)
@given(
    content=st.sampled_from(sorted(FORMATS)).flatmap(lambda name: damaged(encoded()[name])),
    suffix=st.sampled_from(SUFFIXES),
)
def test_a_mutated_picture_is_taken_or_named(
    content: bytes, suffix: str, workshop: Workshop, opened_once: None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"a.{suffix}").write_bytes(content)
        shutil.copy(workshop.pictures[0], Path(folder, "b.png"))
        verdict = count("pictures", workshop.planned(folder))
    assert verdict.code or sizes(verdict)["forget"] == 2, verdict


@st.composite
def lists(draw: st.DrawFn, names: list[str], ending: str) -> str:
    """A list of all `names` as somebody might have written it."""
    if ending == "json":
        return json.dumps(names if draw(st.booleans()) else [{"path": name} for name in names])
    if ending == "jsonl":
        return "\n".join(json.dumps({"path": name}) for name in names)
    if ending != "txt":
        sign = "," if ending == "csv" else "\t"
        return "\n".join([f"path{sign}label", *(f"{name}{sign}a" for name in names)])
    blank = draw(st.sampled_from(("", "\n", "   \n")))
    return "\n".join(name + draw(st.sampled_from(("", " ", "\t"))) for name in names) + "\n" + blank


@cases(0.06)
@given(data=st.data())
def test_a_list_in_another_dialect_is_taken_whole(
    data: st.DataObject, workshop: Workshop, opened_once: None
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(workshop.pictures), min_size=1, unique=True))
    ending = data.draw(st.sampled_from(LISTS))
    text = data.draw(lists([str(path) for path in chosen], ending))
    text = text.replace("\n", data.draw(st.sampled_from(("\n", "\r\n"))))
    content = text.encode(data.draw(st.sampled_from(("utf-8", "utf-8-sig", "utf-16"))))
    verdict = count("dialects of lists", workshop.planned(workshop.listed(ending, content)))
    assert verdict.code == 0, verdict
    assert sizes(verdict)["forget"] == len(chosen)


@cases(0.18)
@given(data=st.data())
def test_a_mutated_list_is_taken_whole_or_refused(
    data: st.DataObject, workshop: Workshop, opened_once: None
) -> None:
    ending = data.draw(st.sampled_from(LISTS))
    names = [str(path) for path in workshop.pictures]
    content = data.draw(damaged(data.draw(lists(names, ending)).encode()))
    verdict = count("lists", workshop.planned(workshop.listed(ending, content)))
    if verdict.code == 0 and ending == "txt":
        lines = {line.strip() for line in content.decode("utf-8", "replace").splitlines()}
        assert sizes(verdict)["forget"] >= len(lines & set(names)), verdict


@cases(0.16)
@given(data=st.data())
def test_a_mutated_config_is_planned_or_refused(
    data: st.DataObject, workshop: Workshop, untimed: None
) -> None:
    values = yaml.safe_load((workshop.finished / "config.yaml").read_text(encoding="utf-8"))
    if data.draw(st.booleans()):
        text = yaml.safe_dump(data.draw(altered(values)), allow_unicode=True)
        content = text.encode("utf-8", "surrogatepass")
    else:
        content = data.draw(damaged(yaml.safe_dump(values).encode()))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.yaml").write_bytes(content)
        count("configs", judged("plan", "--config", Path(folder, "config.yaml"), "--json"))


@cases(0.10)
@given(data=st.data())
def test_a_mutated_model_is_opened_or_refused(data: st.DataObject, workshop: Workshop, untimed: None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = Path(shutil.copytree(workshop.model, Path(folder, "model")))
        file = model / data.draw(st.sampled_from(sorted(path.name for path in model.iterdir())))
        spoil(data, file)
        count("models", workshop.planned(workshop.photos / "cats", model))


@cases(0.12)
@given(data=st.data())
def test_a_mutated_array_is_scored_or_refused(data: st.DataObject) -> None:
    good = np.random.default_rng(0).normal(size=(16, 12))
    file = io.BytesIO()
    if data.draw(st.booleans()):
        np.save(file, good.astype(data.draw(st.sampled_from(("<f4", "<f8", ">f8", "<f2")))))
        content = data.draw(damaged(file.getvalue()))
    else:
        kinds = npst.scalar_dtypes() | npst.unicode_string_dtypes() | npst.complex_number_dtypes()
        shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=16)
        np.save(file, data.draw(npst.arrays(data.draw(kinds), data.draw(shapes))))
        content = file.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "odd.npy").write_bytes(content)
        np.save(Path(folder, "good.npy"), good + 0.5)
        names = ("odd.npy", "good.npy") if data.draw(st.booleans()) else ("good.npy", "odd.npy")
        unlearned, retrained = (Path(folder, name) for name in names)
        verdict = count(
            "arrays", judged("score", "--unlearned", unlearned, "--retrained", retrained, "--json")
        )
    assert verdict.code or 0 <= json.loads(verdict.out)["score"] <= 1


@cases(0.06)
@given(data=st.data())
def test_a_finished_run_with_a_mutated_file_is_read_or_refused(
    data: st.DataObject, workshop: Workshop
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(shutil.copytree(workshop.finished, Path(folder, "run")))
        files = files_of(run)
        spoil(data, data.draw(st.sampled_from(files)))
        verb = data.draw(st.sampled_from(("verify", "report", "lineage", "purge")))
        count("finished runs", judged(verb, run))


@cases(0.04)
@given(data=st.data())
def test_a_stopped_run_with_a_mutated_file_goes_on_to_the_same_bits_or_stays_as_it_is(
    data: st.DataObject, workshop: Workshop, undrawn: None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(shutil.copytree(data.draw(st.sampled_from(workshop.stopped)), Path(folder, "run")))
        files = files_of(run)
        spoil(data, data.draw(st.sampled_from(files)))
        # a log grows, and what a kill left half-written is swept away
        kept = [path for path in files if path.suffix != ".jsonl" and not path.match("**/.*.tmp/*")]
        before = {path: path.read_bytes() for path in kept if path.suffix != ".tmp"}
        verdict = count("stopped runs", judged(*workshop.errand.into(run)))
        if verdict.code == 0:
            weights = [path / "model" / "model.safetensors" for path in (run, workshop.finished)]
            assert weights[0].read_bytes() == weights[1].read_bytes()
        elif verdict.code != 6:
            assert {path: path.read_bytes() for path in before} == before, verdict


@cases(0.06)
@given(data=st.data(), kind=st.sampled_from(BENCHES))
def test_a_mutated_config_of_a_benchmark_is_read_or_refused(
    data: st.DataObject, kind: str, errands: dict[str, Errand], unpriced: None
) -> None:
    values = yaml.safe_load(Path(str(errands[kind].arguments[-1])).read_text(encoding="utf-8"))
    if data.draw(st.booleans()):
        content = yaml.safe_dump(data.draw(altered(values)), allow_unicode=True).encode(
            "utf-8", "surrogatepass"
        )
    else:
        content = data.draw(damaged(yaml.safe_dump(values).encode()))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "bench.yaml").write_bytes(content)
        count("configs of benchmarks", judged(*kind.split(), Path(folder, "bench.yaml"), "--estimate"))


@cases(0.03)
@given(data=st.data(), kind=st.sampled_from(BENCHES))
def test_a_benchmark_with_a_mutated_file_comes_to_the_same_or_is_refused(
    data: st.DataObject, kind: str, errands: dict[str, Errand], pools: dict[str, Path], undrawn: None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(shutil.copytree(pools[kind], Path(folder, "out")))
        spoil(data, data.draw(st.sampled_from(files_of(out))))
        verdict = count("finished benchmarks", judged(*errands[kind].into(out)))
        if verdict.code == 0:
            assert not unlike(*(what_lies_in(one)["results.json"]["tasks"] for one in (pools[kind], out)))


@pytest.fixture(scope="module")
def pools(errands: dict[str, Errand], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished benchmark of each kind."""
    folder = tmp_path_factory.mktemp("pools")
    for kind in BENCHES:
        ending = carry_out(errands[kind], made(folder / kind), folder / "scratch")
        assert ending.code == 0, ending.said
    return {kind: folder / kind / "out" for kind in BENCHES}


@pytest.fixture(scope="module")
def unpriced() -> Iterator[None]:
    """An estimate times no steps: it is the config that matters. One that is read ends here."""

    def read(*_: object) -> None:
        raise Stopped("the config was read")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("efface.jobs.bench.timings_of", read)
        yield


def files_of(run: Path) -> list[Path]:
    return sorted(path for path in run.rglob("*") if path.is_file() and path.name != ".lock")


def spoil(data: st.DataObject, file: Path) -> None:
    """Mutate a file: JSON by its entries or its bytes, everything else by its bytes."""
    content = file.read_bytes()
    if file.suffix == ".json" and data.draw(st.booleans()):
        file.write_text(json.dumps(data.draw(altered(json.loads(content)))), encoding="utf-8")
    else:
        file.write_bytes(data.draw(damaged(content)))


@pytest.fixture(scope="module")
def undrawn() -> Iterator[None]:
    """Charts are laid out but not drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda _, file, **__: file.write("<svg></svg>"))
        yield
