"""The engines of clusters, on this machine: Slurm through submitit's local jobs, and a Ray of its own."""

from __future__ import annotations

import builtins
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from efface.benchmark.engines import Engine, Outcome
from efface.benchmark.engines import slurm as slurm_module
from efface.benchmark.engines.ray import RayEngine
from efface.benchmark.engines.slurm import SlurmEngine
from efface.errors import InputError
from support.cluster_errands import local_slurm, run
from support.errands import Errand, alive, begun, wait_for


def ray_engine(**options: Any) -> RayEngine:
    pytest.importorskip("ray", reason="needs efface[cluster]: ray")
    return RayEngine(**options)


WHATS = {"a": "nothing", "b": "raise", "c": "die once", "d": "nothing", "e": "nothing", "f": "die"}


def errors_of_mixed_tasks(engine: Engine, folder: Path) -> dict[str, str | None]:
    """Runs good, raising and dying tasks; checks what holds on every engine, and returns the errors by name."""
    outcomes = list(run(engine, [Errand(folder, name, what) for name, what in WHATS.items()]))
    errors = {outcome.task.name: outcome.error for outcome in outcomes}
    assert len(outcomes) == len(errors) == len(WHATS)
    assert {name for name, error in errors.items() if error is None} == set("acde")
    assert errors["b"] == "ArithmeticError: no number fits"
    assert {file.stem for file in folder.glob("*.result")} == set("acde")
    assert [len(begun(folder, name)) for name in "acdef"] == [1, 2, 1, 1, 3]
    return errors


def test_a_lost_slurm_job_costs_only_tries_and_the_rest_of_its_tasks_are_done(tmp_path: Path) -> None:
    engine = local_slurm(tmp_path / "jobs", cpus_per_task=2, tasks_per_job=4, parallel=2)
    errors = errors_of_mixed_tasks(engine, tmp_path)
    assert str(errors["f"]).startswith("the worker died 3 times (job ")
    log = Path(str(errors["f"]).rpartition("its log is ")[2].removesuffix(")"))
    assert log.is_file()
    assert (tmp_path / "a.result").read_text() == "2 cpu"
    # it left no result, and what was known of it went with the job
    assert len(begun(tmp_path, "b")) == 2


def test_closing_the_iterator_ends_slurm_jobs_of_this_machine(tmp_path: Path) -> None:
    engine = local_slurm(tmp_path / "jobs", tasks_per_job=2)
    outcomes = run(engine, [Errand(tmp_path, "a"), Errand(tmp_path, "b", "sleep")])
    assert next(outcomes).task.name == "a"
    wait_for(lambda: begun(tmp_path, "b") not in ([], [0]))
    outcomes.close()
    wait_for(lambda: not any(alive(process) for process in begun(tmp_path)))


def test_a_slurm_task_is_told_done_while_its_job_goes_on_and_is_not_lost_with_it(tmp_path: Path) -> None:
    errands = [Errand(tmp_path, "a"), Errand(tmp_path, "b", "die once after a is told")]
    outcomes = run(local_slurm(tmp_path / "jobs", tasks_per_job=2), errands)
    assert next(outcomes) == Outcome(errands[0])
    (tmp_path / "told").touch()
    assert list(outcomes) == [Outcome(errands[1])]
    assert [len(begun(tmp_path, name)) for name in "ab"] == [1, 2]


def test_without_slurm_the_message_says_where_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="needs efface[cluster]: submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"srun was not found\. Start from a login node"):
        list(run(SlurmEngine(tmp_path), [Errand(tmp_path, "a")]))


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for the commands of Slurm that only note how they were called."""
    pytest.importorskip("submitit", reason="needs efface[cluster]: submitit")
    tools = tmp_path / "bin"
    tools.mkdir()
    scripts = {
        "srun": "",
        "sacct": "",
        "sbatch": f'cp "$1" {tmp_path}/submitted.sh; echo Submitted batch job 12',
        "scancel": f"echo $1 >> {tmp_path}/cancelled",
    }
    for name, script in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return tools


def test_slurm_gets_what_was_asked_for_and_jobs_are_cancelled_on_the_way_out(
    commands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SlurmEngine(tmp_path / "jobs", "gpu", 90, cpus_per_task=4, gpus_per_task=1)
    outcomes = run(engine, [Errand(tmp_path, "a")])
    monkeypatch.setattr(slurm_module.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(outcomes)
    script = (tmp_path / "submitted.sh").read_text().splitlines()
    for line in ("partition=gpu", "time=90", "cpus-per-task=4", "gpus-per-node=1"):
        assert f"#SBATCH --{line}" in script
    assert any(line.startswith("srun ") and " --cpus-per-task=4 " in line for line in script)
    assert (tmp_path / "cancelled").read_text() == "12\n"


def test_what_slurm_says_when_it_takes_no_job_reaches_the_caller(commands: Path, tmp_path: Path) -> None:
    (commands / "sbatch").write_text("#!/bin/sh\necho invalid partition specified: gqu >&2\nexit 1\n")
    outcomes = run(SlurmEngine(tmp_path / "jobs", "gqu"), [Errand(tmp_path, "a")])
    with pytest.raises(InputError, match=r"Slurm does not take the job: .*invalid partition specified: gqu"):
        next(outcomes)


def interrupt(seconds: float) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_ray_tries_lost_tasks_again_and_gives_the_callers_signals_back(tmp_path: Path) -> None:
    engine = ray_engine()
    import ray

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    errors = errors_of_mixed_tasks(engine, tmp_path)
    assert str(errors["f"]).startswith("the worker died 3 times (WorkerCrashedError: ")
    assert (tmp_path / "a.result").read_text() == "1 cpu"
    assert len(begun(tmp_path, "b")) == 1
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not ray.is_initialized()


@pytest.mark.slow
def test_a_task_larger_than_the_machine_is_refused_by_ray() -> None:
    with pytest.raises(InputError, match="a task asks for 4096 CPU, which this machine does not have"):
        next(ray_engine(cpus_per_task=4096).run(print, [1], bool))


def test_an_address_where_no_ray_answers_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(InputError, match=f"no Ray answers at 127.0.0.1:{port} .ConnectionRefusedError"):
        next(ray_engine(address=f"127.0.0.1:{port}").run(print, [1], bool))


@pytest.mark.slow
def test_closing_the_iterator_cancels_in_a_ray_that_runs_already_and_leaves_that_running(
    tmp_path: Path,
) -> None:
    engine = ray_engine()
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, configure_logging=False)
    try:
        outcomes = run(engine, [Errand(tmp_path, "a"), Errand(tmp_path, "b", "sleep")])
        assert next(outcomes).task.name == "a"
        wait_for(lambda: begun(tmp_path, "b") not in ([], [0]))
        outcomes.close()
        assert ray.is_initialized()
        wait_for(lambda: not any(alive(process) for process in begun(tmp_path, "b")))
    finally:
        ray.shutdown()


@pytest.mark.parametrize(
    ("package", "engine"), [("ray", RayEngine()), ("submitit", SlurmEngine(Path("jobs")))]
)
def test_a_missing_package_is_named_with_the_command_that_brings_it(
    package: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == package:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=rf"needs the package {package}: pip install 'efface\[cluster\]'"):
        next(engine.run(print, [1], bool))


def test_all_faults_of_a_slurm_engine_are_named_at_once() -> None:
    with pytest.raises(InputError) as refused:
        SlurmEngine(Path("jobs"), time_minutes=0, tasks_per_job=0, gpus_per_task=-1, executor="remote")  # type: ignore[arg-type]
    names = [problem.split(" is ")[0] for problem in refused.value.problems]
    assert names == ["time_minutes", "tasks_per_job", "gpus_per_task", "executor"]
