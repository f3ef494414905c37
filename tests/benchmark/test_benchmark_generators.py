"""Runs, tasks and tables of generator benchmarks, on models of a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from efface.benchmark.config import BenchConfig, entries, merged, read_bench
from efface.benchmark.engines import InLineEngine
from efface.benchmark.generators.data import images_of
from efface.benchmark.generators.errors import errors_of
from efface.benchmark.generators.kind import GENERATORS
from efface.benchmark.generators.models import new_generator, run_phases, unlearning_settings
from efface.benchmark.generators.runs import GeneratorOutputs
from efface.benchmark.generators.task import GeneratorBench, GeneratorTask
from efface.benchmark.pool import Pool
from efface.benchmark.results import BenchRow, Estimate
from efface.benchmark.runs import PoolRun
from efface.benchmark.tables import TaskTables
from efface.benchmark.tuning import trials
from efface.documents import yaml_text
from efface.errors import InputError
from efface.generators.base import Generator
from efface.images.datasets import DatasetSettings, open_dataset
from efface.progress import Progress
from efface.training.phases import Batch, Loss, Training

SMALL = {"batch_size": 8, "crop_scale": [1.0, 1.0], "flip": False, "precision": "fp32"}
VALUES: dict[str, Any] = {
    "images": {"data": "digits", "forget": "random:12", "limit": 40, "limit_test": 20},
    "architecture": {
        "image_size": 8, "patch_size": 2, "hidden_size": 16, "layers": 1, "heads": 2,
        "decoder_hidden_size": 16, "decoder_layers": 1, "decoder_heads": 2,
    },
    "training": {**SMALL, "steps": 4, "corruption": "centre:0.5"},
    "unlearning": {**SMALL, "steps": 3},
    "corruptions": ["centre:0.5", "extend-left:0.25"],
    "measured": 10,
    "pictures": 2,
    "relearning": {"steps": [1, 2]},
}  # fmt: skip
SECTION = entries(
    GeneratorBench.read({"tasks": {"one": GeneratorTask.from_values(VALUES)}, "methods": "encoder-noise"})
)[0].section


def task(**changes: Any) -> GeneratorTask:
    return GeneratorTask.from_values(merged(VALUES, changes))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool[GeneratorOutputs]:
    filled = Pool(tmp_path_factory.mktemp("pool"), task(), GENERATORS)
    runs = [
        *(PoolRun(kind, seed) for kind in ("original", "retrained") for seed in range(2)),  # type: ignore[arg-type]
        *(PoolRun.unlearned(SECTION, seed, 0) for seed in range(2)),
    ]
    assert filled.fill(runs, InLineEngine()) == []
    return filled


@pytest.fixture(scope="module")
def tables(pool: Pool[GeneratorOutputs]) -> TaskTables:
    config = config_of("encoder-noise", models=2)
    return TaskTables(config, GENERATORS.reader(config, pool), entries(config), {}, {})


def row(tables: TaskTables, label: str, corruption: str = "centre:0.5") -> BenchRow:
    found = tables.results(None, Progress()).tables[task().corruptions.index(corruption)]
    return next(row for row in found.rows if row.label == label)


def test_all_faults_of_a_task_are_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        task(architecture={"size": "huge", "patch_size": 3}, training={"stepz": 3})
    assert "huge" in str(caught.value)
    assert "stepz" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": {"image_size": 16}}, "images.image_size is 16"),
        ({"images": {"channels": 1}}, "colour pictures"),
        ({"corruptions": ["center:0.5"]}, "centre"),
        ({"unlearning": {"stepz": 3}}, "stepz"),
        ({"unlearning": {"trackers": ["wandb"]}}, "unlearning.trackers: no tracker follows"),
        ({"training": {"trackers": ["wandb"]}}, "training.trackers: no tracker follows"),
        ({"relearning": {"steps": [3, 2]}}, "above the one before"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        task(**changes)


def test_a_task_survives_being_written_down() -> None:
    assert GeneratorTask.from_values(task().as_dict()) == task()


def test_a_run_keeps_answers_for_every_corruption_and_set(pool: Pool[GeneratorOutputs]) -> None:
    found = pool.outputs(PoolRun("original", 0))
    assert set(found.answers) == {
        (corruption, name) for corruption in task().corruptions for name in ("forget", "retain", "neutral")
    }
    answers = found.answers["centre:0.5", "forget"]
    assert answers.values["hole_mse"].shape == (12,)
    assert answers.features.shape == (12, 64)
    assert answers.seen.shape == (12, 64 + answers.hole.shape[1])
    assert answers.pictures.shape == (2, 3, 8, 8)
    assert found.answers["centre:0.5", "retain"].values["ssim"].shape == (10,)
    assert found.spent.steps == 4
    assert found.spent.seconds > 0


def test_the_same_run_is_the_same_to_the_bit(pool: Pool[GeneratorOutputs], tmp_path: Path) -> None:
    again = Pool(tmp_path, task(), GENERATORS)
    again.fill([PoolRun.unlearned(SECTION, 1, 0)], InLineEngine())
    for name in ("forget", "retain", "neutral"):
        one, other = (
            where.outputs(PoolRun.unlearned(SECTION, 1, 0)).answers["centre:0.5", name]  # type: ignore[index]
            for where in (pool, again)
        )
        assert np.array_equal(one.features, other.features)
    mine, theirs = (where.outputs(PoolRun.unlearned(SECTION, 1, 0)) for where in (pool, again))
    assert all(np.array_equal(mine.relearning[name], theirs.relearning[name]) for name in ("retain", "few"))


def test_a_full_pool_has_nothing_to_do(pool: Pool[GeneratorOutputs]) -> None:
    class Refusing(InLineEngine):
        def run(self, function: Any, tasks: Any) -> Any:
            raise AssertionError("nothing is missing")

    assert Pool(pool.folder, task(), GENERATORS).fill([PoolRun("original", 0)], Refusing()) == []


def test_unlearning_starts_from_the_original(pool: Pool[GeneratorOutputs]) -> None:
    still = {"name": "fine-tune", "training": {"learning_rate": 1e-12, "steps": 1}}
    pool.fill([PoolRun.unlearned(still, 0, 0)], InLineEngine())
    before, after = pool.outputs(PoolRun("original", 0)), pool.outputs(PoolRun.unlearned(still, 0, 0))
    assert after.spent.steps == 1
    for place, answers in before.answers.items():
        assert np.allclose(answers.values["hole_mse"], after.answers[place].values["hole_mse"], atol=1e-7)


def test_relearning_begins_with_the_models_own_error(pool: Pool[GeneratorOutputs]) -> None:
    found = pool.outputs(PoolRun("original", 1))
    errors = found.answers["centre:0.5", "forget"].of_images("hole_mse")
    assert found.relearning["retain"].shape == (3,)
    assert found.relearning["retain"][0] == pytest.approx(np.log(errors).mean(), abs=1e-5)
    # nine of the twelve are measured where three are shown
    assert found.relearning["few"].shape == (3,)
    assert found.relearning["few"][0] != pytest.approx(found.relearning["retain"][0], abs=1e-9)


def test_the_proxy_images_are_never_trained_on() -> None:
    data = images_of(task())
    ids = {name: set(images.ids) for name, images in data.sets.items()}
    assert not ids["proxy"] & (ids["forget"] | ids["retain"] | ids["neutral"])
    assert len(ids["forget"]) == 12
    assert len(ids["retain"]) == 28


def test_no_proxy_image_is_of_a_class_to_be_forgotten() -> None:
    images = {"data": "digits", "forget": "classes:4", "limit": 100, "validation": 0.2}
    data = images_of(task(images=images))
    assert len(data.sets["proxy"])
    assert set(data.sets["proxy"].labels) <= set(data.sets["retain"].labels)
    assert not set(data.sets["proxy"].labels) & set(data.sets["forget"].labels)


def test_a_missing_proxy_set_is_a_lasting_failure(tmp_path: Path) -> None:
    without = Pool(tmp_path, task(images={"validation": 0.0}), GENERATORS)
    (failure,) = without.fill([PoolRun.unlearned({**SECTION, "retain": "proxy"}, 0, 0)], InLineEngine())
    assert failure.lasting
    assert "images.validation" in failure.error


def test_doing_nothing_costs_nothing_and_is_detected_like_itself(tables: TaskTables) -> None:
    for corruption in task().corruptions:
        measures = row(tables, "original", corruption).measures
        assert measures["retain_cost"].each == [1.0, 1.0]
        assert measures["neutral_cost"].value == 1.0
        assert measures["time_share"].value == 0.0


def test_figures_stand_beside_the_retrained_model_of_the_same_seed(
    tables: TaskTables, pool: Pool[GeneratorOutputs]
) -> None:
    mine, theirs = (
        [errors_of(pool.outputs(run).answers["extend-left:0.25", "forget"]) for run in runs]
        for runs in (
            [PoolRun.unlearned(SECTION, seed, 0) for seed in range(2)],
            [PoolRun("retrained", seed) for seed in range(2)],
        )
    )
    gaps = [float((np.log(a) - np.log(b)).mean()) for a, b in zip(mine, theirs, strict=True)]
    found = row(tables, "encoder-noise", "extend-left:0.25").measures
    assert found["forget_gap"].each == pytest.approx(gaps)
    assert found["forget_ratio"].value == pytest.approx(
        np.mean([a.mean() / b.mean() for a, b in zip(mine, theirs, strict=True)])
    )
    # negative gaps have negative ends: no bound cuts them
    low, high = found["forget_gap"].low, found["forget_gap"].high
    assert low is not None
    assert high is not None
    assert (low + high) / 2 == pytest.approx(np.mean(gaps))
    assert found["time_share"].value > 0
    assert "frechet_distance_forget" not in found  # twelve images do not give a covariance of 64 features
    assert np.isfinite(found["kernel_distance_forget"].value)


def test_a_retrained_model_is_measured_beside_another_one(
    tables: TaskTables, pool: Pool[GeneratorOutputs]
) -> None:
    first, second = (
        errors_of(pool.outputs(PoolRun("retrained", seed)).answers["centre:0.5", "forget"])
        for seed in range(2)
    )
    found = row(tables, "retrained").measures["forget_gap"]
    apart = float((np.log(second) - np.log(first)).mean())
    assert found.each == pytest.approx((apart, -apart))


def test_a_row_whose_runs_are_missing_says_why_and_comes_last(pool: Pool[GeneratorOutputs]) -> None:
    config = config_of("gradient-ascent", "encoder-noise", models=2)
    missing, there = entries(config)
    errors = {PoolRun.unlearned(missing.section, 0, 0): "out of memory"}
    tables = TaskTables(config, GENERATORS.reader(config, pool), [missing, there], {}, errors)
    for found in tables.results(None, Progress()).tables:
        assert [row.label for row in found.rows] == [
            "original",
            "retrained",
            "encoder-noise",
            "gradient-ascent",
        ]
        last = found.rows[-1]
        assert (last.failed, last.reason, last.measures, last.place) == (2, "out of memory", {}, None)


def test_the_statistic_is_the_log_of_the_mean_error_over_views(
    tables: TaskTables, pool: Pool[GeneratorOutputs]
) -> None:
    runs = [PoolRun("retrained", seed) for seed in range(2)]
    found = tables.reader.stacked(runs)
    assert found.shape == (2, 12)
    answers = pool.outputs(runs[1]).answers["centre:0.5", "forget"]
    assert found[1] == pytest.approx(np.log(answers.of_images("hole_mse")))


def generator_bench_config(path: Path, **given: Any) -> BenchConfig:
    return read_bench(GeneratorBench, path, **given)


def write(tmp_path: Path, **settings: Any) -> Path:

    path = tmp_path / "bench.yaml"
    path.write_text(yaml_text({"task": VALUES, "methods": ["fine-tune"], **settings}))
    return path


def test_a_benchmark_varies_its_task(tmp_path: Path) -> None:
    vary = {"few": {"images": {"forget": "random:4"}}, "wide": {"corruptions": ["centre:0.75"]}}
    config = generator_bench_config(write(tmp_path, vary=vary, models=2))
    assert config.tasks["few"].images.forget == "random:4"
    assert config.tasks["few"].corruptions == ("centre:0.5", "extend-left:0.25")
    assert config.tasks["wide"].corruptions == ("centre:0.75",)
    assert config.tasks["wide"].images.forget == "random:12"


def test_all_faults_of_a_benchmark_are_named_with_their_task(tmp_path: Path) -> None:
    vary = {"one": {"generator": "vae"}, "two": {"images": {"forget": "some"}}}
    with pytest.raises(InputError) as caught:
        generator_bench_config(write(tmp_path, vary=vary))
    assert any(problem.startswith("one: ") and "vae" in problem for problem in caught.value.problems)
    assert any(problem.startswith("two: ") and "some" in problem for problem in caught.value.problems)


def test_a_statistic_that_no_run_would_keep_is_refused_before_any_run(tmp_path: Path) -> None:
    vary = {"kept": {"task_loss": True}, "not kept": {}}
    with pytest.raises(InputError) as caught:
        generator_bench_config(write(tmp_path, vary=vary, statistic="task-loss"))
    assert caught.value.problems == ("statistic: task-loss needs `task_loss: true` in the task (not kept)",)


def test_a_place_for_data_asks_for_the_folder(tmp_path: Path) -> None:
    path = write(tmp_path, vary={"packed": {"images": {"data": "packed:DATA/pictures"}}})
    with pytest.raises(InputError, match="--data"):
        generator_bench_config(path)
    config = generator_bench_config(path, data="/somewhere")
    assert config.tasks["packed"].images.path == "/somewhere/pictures"


def test_a_method_of_a_benchmark_takes_the_published_settings_and_its_label_names_what_departs() -> None:
    shape = {"image_size": 8, "channel_multipliers": [1, 2], "attention_levels": [1]}
    diffusion = GeneratorTask.from_values({**VALUES, "generator": "palette", "architecture": shape})
    given = {"steps": 60, "batch_size": 16}
    methods = [
        {"name": "max-loss", "preset": "published"},
        {"name": "encoder-noise", "preset": "published", "alpha": 0.5, "training": given},
    ]
    whole, changed = entries(GeneratorBench.read({"tasks": {"one": diffusion}, "methods": methods}))
    assert whole.label == "max-loss (as published)"
    settings = unlearning_settings(whole.section, diffusion)
    assert (settings.epochs, settings.optimizer, settings.corruption) == (3, "adam", "box-brush")
    assert changed.label == (
        "encoder-noise (as published but for method.alpha: 0.5 (published: 0.1); training.steps: 60 (published: 3 epochs); "
        "training.batch_size: 16 (published: 96))"
    )
    assert unlearning_settings(changed.section, diffusion).steps_on(10**6) == 60
    with pytest.raises(InputError, match="no released code that unlearns models of the family mae"):
        entries(config_of({"name": "max-loss", "preset": "published"}))


def config_of(*methods: Any, **settings: Any) -> GeneratorBench:
    return GeneratorBench.read({"tasks": {"one": task()}, "methods": methods, **settings})


def test_labels_say_what_differs_from_default_settings() -> None:
    found = entries(
        config_of(
            "encoder-noise",
            {"name": "encoder-noise", "alpha": 0.5},
            {"name": "encoder-noise", "retain": "proxy"},
            {"name": "encoder-noise", "retain": 0.25},
            {"name": "fine-tune", "training": {"steps": 9}, "label": "long"},
        )
    )
    assert [one.label for one in found] == [
        "encoder-noise",
        "encoder-noise (alpha=0.5)",
        "encoder-noise (proxy retain)",
        "encoder-noise (25% of retain)",
        "long",
    ]
    assert found[2].section["retain"] == "proxy"


def test_wrong_files_are_refused_with_the_right_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a section of what it changes"):
        generator_bench_config(write(tmp_path, vary={"one": 5}))
    with pytest.raises(InputError, match="come with scikit-learn"):
        generator_bench_config(write(tmp_path), data="/somewhere")
    with pytest.raises(InputError, match="did you mean 'models'"):
        generator_bench_config(write(tmp_path, model=3))
    with pytest.raises(InputError, match="twice"):
        task(corruptions=["centre:0.5", "centre:0.5"])
    assert generator_bench_config(write(tmp_path, methods="fine-tune")).methods == ("fine-tune",)


def test_relearning_is_the_greatest_lead_over_the_retrained_model(
    tables: TaskTables, pool: Pool[GeneratorOutputs]
) -> None:
    leads = [
        (
            pool.outputs(PoolRun("retrained", seed)).relearning["few"]
            - pool.outputs(PoolRun.unlearned(SECTION, seed, 0)).relearning["few"]
        )[1:].max()
        for seed in range(2)
    ]
    found = row(tables, "encoder-noise")
    assert found.measures["relearning_few"].each == pytest.approx(leads)
    assert [curve.after for curve in found.curves] == ["retain", "few"]
    assert found.curves[0].mean == pytest.approx(np.mean(found.curves[0].each, axis=0))


def test_methods_that_cannot_be_compared_are_all_named() -> None:
    with pytest.raises(InputError) as caught:
        entries(
            config_of(
                "encoder-nois",
                "fine-tune",
                "fine-tune",
                {"name": "blank", "retain": 2},
                {"name": "blank", "training": {"stepz": 1}},
            )
        )
    text = str(caught.value)
    assert "encoder-nois" in text
    assert "fine-tune stands there twice" in text
    assert "retain" in text
    assert "stepz" in text


def test_classes_are_drawn_and_forgotten_by_number(tmp_path: Path) -> None:
    settings = DatasetSettings.read({"data": "digits", "classes": 6, "forget": "classes:2", "limit_test": 30})
    data, tuning = open_dataset(settings), open_dataset(settings, "tuning")
    assert len(data.classes) == 6
    forgotten, others = set(data.forget.labels.tolist()), set(tuning.forget.labels.tolist())
    assert len(forgotten) == len(others) == 2
    assert not forgotten & others
    assert not forgotten & set(data.retain.labels.tolist())
    assert len(data.test) == 30


def test_tiles_are_squares_of_the_bundled_photos() -> None:
    settings = DatasetSettings.read({"data": "tiles", "image_size": 16, "forget": "random:5", "limit": 50})
    data = open_dataset(settings)
    assert data.forget.pixels.shape == (5, 3, 16, 16)
    assert len(data.retain) == 45
    assert "astronaut" in data.classes
    assert len(set(data.retain.ids)) == 45
    with pytest.raises(InputError, match="scikit-image"):
        DatasetSettings.read({"data": "tiles", "path": "somewhere"})


def test_packed_images_come_in_two_parts(tmp_path: Path) -> None:
    import io

    from PIL import Image

    def pack(name: str, count: int) -> None:
        files = []
        for number in range(count):
            stream = io.BytesIO()
            Image.new("RGB", (8, 8), (number * 9 % 256, 7, 99)).save(stream, "PNG")
            files.append(stream.getvalue())
        np.savez(
            tmp_path / name,
            bytes=np.frombuffer(b"".join(files), np.uint8),
            offset=np.cumsum([0, *map(len, files)]),
            label=np.arange(count) % 2,
            source=np.array([f"{number}.png" for number in range(count)]),
            classes=np.array(["even", "odd"]),
        )

    pack("colours-train.npz", 10)
    pack("colours-val.npz", 4)
    values = {"data": f"packed:{tmp_path}/colours", "image_size": 8, "forget": "random:2", "validation": 0.0}
    data = open_dataset(DatasetSettings.read(values))
    assert (len(data.forget), len(data.retain), len(data.test)) == (2, 8, 4)
    assert data.classes == ("even", "odd")
    with pytest.raises(InputError, match=r"nothing-train\.npz"):
        open_dataset(DatasetSettings.read({**values, "data": f"packed:{tmp_path}/nothing"}))


def test_draws_of_dropout_hang_on_the_runs_seed_alone() -> None:
    """A worker carries out one run after another: what it drew before must not be seen."""
    drawn: list[float] = []

    def loss(student: Generator, batch: Batch) -> Loss:
        drawn.append(float(torch.rand(())))
        return Loss(student.task_loss(batch.views["retain"]).mean(), {})

    small = task()
    data = images_of(small)
    for state, seed in ((1, 5), (2, 5), (2, 6)):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        phases = [Training("train", loss, ("retain",), "all")]
        settings = {**SMALL, "steps": 1}
        run_phases(new_generator(small), phases, {"retain": data.sets["retain"]}, small, data, settings, seed)
        assert torch.equal(torch.get_rng_state(), before)
    assert drawn[0] == drawn[1] != drawn[2]


def test_trials_start_from_originals_that_no_row_scores() -> None:
    config = config_of("encoder-noise", models=2, tuning={"trials": 3, "models": 2, "references": 4})
    default, drawn, _ = trials(entries(config)[0], config)
    assert default.section == SECTION
    assert isinstance(drawn.section["alpha"], float)
    assert 0.02 <= drawn.section["alpha"] <= 1
    assert [(run.start, run.seed, run.purpose) for run in drawn.runs(config)] == [
        (2, 0, "tuning"),
        (3, 0, "tuning"),
    ]


def test_a_trial_is_judged_by_what_retain_and_neutral_images_keep(
    tables: TaskTables, pool: Pool[GeneratorOutputs]
) -> None:
    def error(kind: str, of_set: str) -> float:
        runs = [
            PoolRun.unlearned(SECTION, seed, 0) if kind == "unlearned" else PoolRun(kind, seed)  # type: ignore[arg-type]
            for seed in range(2)
        ]
        answers = (pool.outputs(run).answers["centre:0.5", of_set] for run in runs)  # type: ignore[index]
        return float(np.mean([errors_of(one).mean() for one in answers]))

    unlearned = [PoolRun.unlearned(SECTION, seed, 0) for seed in range(2)]
    assert tables.reader.kept(unlearned, [PoolRun("retrained", seed) for seed in range(2)]) == pytest.approx(
        {
            "retain_share": error("original", "retain") / error("unlearned", "retain"),
            "neutral_share": error("retrained", "neutral") / error("unlearned", "neutral"),
        }
    )


def test_other_setups_need_a_score() -> None:
    with pytest.raises(InputError, match="8 models or more"):
        config_of("encoder-noise", models=2, setups=["reuse-n-1"])
    assert config_of("encoder-noise", models=8, setups=["reuse-n-1"]).all_setups == ("reuse-n-n", "reuse-n-1")


@pytest.mark.parametrize(("error", "stronger"), [(0.08, True), (0.081, False), (0.5, False)])
def test_originals_are_stronger_than_fills_that_they_beat_by_a_fifth(
    tables: TaskTables, error: float, stronger: bool
) -> None:
    measured = {"hole_mse_neutral": Estimate(value=error, low=None, high=None, each=[])}
    original = BenchRow(label="original", kind="original", settings="reference", measures=measured)
    assert tables.reader.stronger(original, {"mean": 0.3, "nearest": 0.1}) is stronger
    assert tables.reader.stronger(original, {}) is None


@pytest.mark.parametrize(("high", "memory"), [(-0.01, True), (0.0, False), (0.2, False), (None, None)])
def test_memory_is_shown_where_the_interval_of_the_gap_excludes_0(
    tables: TaskTables, high: float | None, memory: bool | None
) -> None:
    gap = Estimate(value=-0.1, low=None if high is None else -0.3, high=high, each=[])
    original = BenchRow(label="original", kind="original", settings="reference", measures={"forget_gap": gap})
    assert tables.reader.memory(original) is memory


def test_every_row_of_models_has_a_verdict_from_the_means_over_seeds(tables: TaskTables) -> None:
    original, _, *methods = tables.results(None, Progress()).tables[0].rows
    assert original.verdict is not None
    assert original.verdict.to_original is not None
    assert original.verdict.to_original.value == 0
    assert original.verdict.word in ("no", "cannot be told")
    assert all(row.verdict is not None for row in methods)
