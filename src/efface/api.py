"""The Python API: the command line's jobs with plain arguments and typed results.

Generators and classifiers go the same way; the model that is named decides. A classifier that is held in memory, with
its images in arrays, is unlearned without a run folder by `efface.methods.classifier.base.unlearn_classifier`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from torch import nn

from efface.benchmark.classifiers.task import ClassifierBench
from efface.benchmark.config import read_bench
from efface.benchmark.generators.task import GeneratorBench
from efface.classifiers.classifier import Classifier
from efface.errors import InputError
from efface.factories import hold
from efface.generators.base import Generator
from efface.jobs.bench import BenchOutcome
from efface.jobs.bench import bench as bench_run
from efface.jobs.kinds import kind_of, read_config
from efface.jobs.plan import Plan
from efface.jobs.plan import plan as plan_run
from efface.jobs.run import RunResult, carry_out
from efface.progress import Progress

PathOrName = str | PathLike[str]


class Module:
    """A network that is held in memory, in the place of a model's path: with a `name` for the record, and its settings.

    settings: of a network from picture to picture those that a config has beside `model.network`, `image_size` at least, as
    in `Module(network, "my-network", image_size=64, value_range=(-1, 1))`; of a classifier its `classes` and the others of
    `ClassifierSettings`. `network=` names what builds it with fresh weights.
    """

    def __init__(self, module: nn.Module, name: str, **settings: Any) -> None:
        self.module, self.name, self.settings = module, name, settings

    def section(self) -> dict[str, JsonValue]:
        """What stands in a config in its place; the module is held under its name from now on."""
        place = hold(self.name, self.module)
        return {"path": place, "network": place, **self.settings}


Model = PathOrName | Module | Mapping[str, JsonValue]
"""What a model is named by: where it lies, `{"path": where it lies, "network": "package.module:build"}` with other settings
as a config has them, or a module in memory."""
Selection = PathOrName | Iterable[PathOrName] | None
Probes = str | Iterable[str | dict[str, Any]] | None
Requirements = str | Iterable[str] | None


def load(model: Model, **settings: Any) -> Generator | Classifier:
    """Open a trained model, a generator or a classifier: a folder, `hub:owner/name`, a file of weights, or a `Module`.

    settings: those of its family, for example `norm_pix_loss=True`, or for a classifier those of `ClassifierSettings`.
    Raises `InputError`.
    """
    values = {**_section(model), **settings}
    kind = kind_of({"model": values})
    opened: Generator | Classifier = kind.operations.load(kind.read_model(values))
    return opened


def unlearn(
    model: Model,
    *,
    out: PathOrName,
    forget: Selection,
    retain: Selection = None,
    neutral: Selection = None,
    proxy_retain: Selection = None,
    images: PathOrName | None = None,
    retrained: Model | None = None,
    yardstick: Model | None = None,
    method: str | dict[str, Any] | None = None,
    probes: Probes = None,
    require: Requirements = None,
    progress: Progress | None = None,
    **settings: Any,
) -> RunResult:
    """Make a model forget images, in the run folder `out`; the same call continues an interrupted run.

    Sets are selectors as on the command line (a folder, `label:cat`, `glob:*.png`, ...) or several of them.
    `settings` are those of `RunConfig`: `preset`, `corruption`, `seed`, `budget`, `training={...}`, `evaluation={...}`,
    and of its sets: `duplicates`, `copy_agreement`, `skip_unreadable`. For a classifier, those of
    `ClassifierRunConfig`: `preset`, `validation`, `recipe={...}`, `statistics`, `seed`, `budget`, `evaluation={...}`.
    method: by default `encoder-noise` for a generator, `fine-tune` for a classifier.
    probes: names or sections with a name and settings, `all` or `cheap`; found in `.probes`.
    require: thresholds such as `retain-error<=1.02x`; the verdicts are in `.requirements`, and none is raised.
    Raises `InputError` before anything changes, `RunRefused`, and `Stopped` with everything kept.
    """
    sets = _images(images, forget, retain, neutral, proxy_retain, settings)
    models = _models(model=model, retrained=retrained, yardstick=yardstick)
    chosen = {**({"method": method} if method is not None else {}), **_judged(probes, require)}
    config = read_config("unlearn", {**models, "images": sets, **chosen, **settings})
    return carry_out(config, Path(out), progress)


def plan(
    model: Model,
    *,
    forget: Selection,
    retain: Selection = None,
    neutral: Selection = None,
    proxy_retain: Selection = None,
    images: PathOrName | None = None,
    retrained: Model | None = None,
    yardstick: Model | None = None,
    method: str | dict[str, Any] | None = None,
    probes: Probes = None,
    require: Requirements = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Plan:
    """All faults and risks of such a run, what it would change and cost; nothing is written."""
    sets = _images(images, forget, retain, neutral, proxy_retain, settings)
    models = _models(model=model, retrained=retrained, yardstick=yardstick)
    chosen = {**({"method": method} if method is not None else {}), **_judged(probes, require)}
    return plan_run(read_config("unlearn", {**models, "images": sets, **chosen, **settings}), progress)


def train(
    images: PathOrName,
    *,
    out: PathOrName,
    without: Selection = None,
    neutral: Selection = None,
    like: Model | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> RunResult:
    """Train a model from fresh weights, or with `base=MODEL` on from those of another, as of a public one.

    `settings` are those of `TrainConfig`, for example `generator="mage"`. A base from which the model named by `like` was
    trained is taken too, unless `base=None`.

    A classifier with `classifier="resnet18"`, `"small-conv"` or `"mlp"`, or with `like` a classifier; `settings` are
    then those of `ClassifierTrainConfig`, and its classes are the labels of the images.
    """
    values = {
        "images": fspath(images),
        "without": _selectors(without),
        "neutral": _selectors(neutral),
        **(_models(like=like)),
        **settings,
    }
    return carry_out(read_config("train", values), Path(out), progress)


def evaluate(
    original: Model,
    unlearned: Model | None = None,
    *,
    out: PathOrName,
    forget: Selection,
    retain: Selection = None,
    neutral: Selection = None,
    images: PathOrName | None = None,
    retrained: Model | None = None,
    yardstick: Model | None = None,
    probes: Probes = None,
    require: Requirements = None,
    progress: Progress | None = None,
    **settings: Any,
) -> RunResult:
    """Compare models that are there already; `settings` are those of `EvaluateConfig` or `ClassifierEvaluateConfig`.

    probes, require: as in `unlearn`.
    """
    sets = _images(images, forget, retain, neutral, None, settings)
    models = _models(original=original, unlearned=unlearned, retrained=retrained, yardstick=yardstick)
    values = {**models, "images": sets, **_judged(probes, require), **settings}
    return carry_out(read_config("evaluate", values), Path(out), progress)


def compare_runs(runs: Iterable[PathOrName], out: PathOrName) -> Path:
    """Set finished runs side by side: the page `out`, and a table with the same figures beside it as CSV.

    Raises `InputError` where the runs cannot be compared, naming every difference.
    """
    from efface.reports.compare_page import compare_runs as compare

    return compare([Path(run) for run in runs], Path(out))


def _judged(probes: Probes, require: Requirements) -> dict[str, Any]:
    """The sections of probes and requirements, as far as they were given."""
    given: dict[str, Any] = {}
    if probes is not None:
        given["probes"] = [probes] if isinstance(probes, str) else list(probes)
    if require is not None:
        given["require"] = [require] if isinstance(require, str) else list(require)
    return given


def _section(model: Model) -> dict[str, JsonValue]:
    if isinstance(model, Module):
        return model.section()
    if isinstance(model, Mapping):
        return dict(model)
    if not isinstance(model, str | PathLike):
        raise InputError(
            f"a model is named by its path, not by a {type(model).__name__}: give a network in memory as "
            "efface.Module(network, name=...)"
        )
    return {"path": fspath(model)}


def _models(**models: Model | None) -> dict[str, Any]:
    return {name: _section(model) for name, model in models.items() if model is not None}


def _images(
    images: PathOrName | None,
    forget: Selection,
    retain: Selection,
    neutral: Selection,
    proxy_retain: Selection,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """The section of the image sets; what else belongs to it is taken out of `settings`."""
    values: dict[str, Any] = {
        "forget": _selectors(forget),
        "retain": _selectors(retain),
        "neutral": _selectors(neutral),
        "proxy_retain": _selectors(proxy_retain),
    }
    if images is not None:
        values["images"] = fspath(images)
    of_sets = ("duplicates", "copy_agreement", "skip_unreadable")
    return values | {name: settings.pop(name) for name in of_sets if name in settings}


def _selectors(selection: Selection) -> tuple[str, ...]:
    if selection is None:
        return ()
    if isinstance(selection, str | PathLike):
        return (fspath(selection),)
    return tuple(fspath(one) for one in selection)


def bench(
    task: PathOrName,
    *,
    out: PathOrName,
    data: PathOrName | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> BenchOutcome:
    """Compare methods for classifiers on a task, in the folder `out`; the same call continues it.

    task: `digits`, `faces-age`, `casia-surf`, `cifar10`, `folder:PATH` or a YAML file; data: the folder of its images;
    settings: those of `ClassifierBench`, such as `models=32` or `methods=["fine-tune", {"name": "scrub", "epochs": 3}]`.
    retry_failed: run what is kept as failed a second time. Raises `InputError`, `RunRefused` and `Stopped`. On worker
    processes, call it under `if __name__ == "__main__":`.
    """
    config = read_bench(ClassifierBench, fspath(task), settings, data=_path(data))
    return bench_run(config, Path(out), progress, retry_failed=retry_failed)


def bench_generators(
    config: PathOrName,
    out: PathOrName,
    *,
    data: PathOrName | None = None,
    with_pictures: bool = False,
    retry_failed: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> BenchOutcome:
    """Compare methods for generators, in the folder `out`; the same call continues it.

    config: a YAML file; data: the folder of the images, in the place of `DATA` in it; settings: those of
    `GeneratorBench` in place of the file's, such as `models=8` or `methods=["fine-tune", "encoder-noise"]`.
    with_pictures: also write `pictures.html`, which shows forgotten images. retry_failed: run what is kept as failed a
    second time. Raises `InputError`, `RunRefused` and `Stopped`. On worker processes, call it under
    `if __name__ == "__main__":`.
    """
    chosen = read_bench(GeneratorBench, fspath(config), settings, data=_path(data))
    return bench_run(chosen, Path(out), progress, with_pictures=with_pictures, retry_failed=retry_failed)


def _path(given: PathOrName | None) -> str | None:
    return None if given is None else fspath(given)
