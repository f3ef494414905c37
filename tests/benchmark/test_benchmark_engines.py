"""Engines in this process and in workers of it: what becomes of tasks that raise, die, or are called off."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from efface.benchmark.engines import Engine, InLineEngine, Outcome, ProcessEngine, engine_named
from efface.benchmark.engines.base import NO_RESULT, RETRIES
from efface.benchmark.engines.processes import ending
from efface.devices import named_device
from efface.errors import InputError, Stopped
from support.errands import SECONDS, Errand, alive, begun, do, look_at_threads, result, run, wait_for


def errors(outcomes: Iterator[Outcome[Errand]]) -> dict[str, str | None]:
    """Error by name; a task that is told of twice fails the test."""
    found = list(outcomes)
    assert len({outcome.task.name for outcome in found}) == len(found)
    return {outcome.task.name: outcome.error for outcome in found}


@pytest.fixture(params=[InLineEngine(), ProcessEngine(2)], ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    made: Engine = request.param
    return made


def test_every_task_is_done_once_and_one_that_raises_stops_no_other(engine: Engine, tmp_path: Path) -> None:
    whats = ["nothing", "raise", "nothing", "exit", "nothing"]
    errands = [Errand(tmp_path, f"t{number}", what) for number, what in enumerate(whats)]
    outcomes = {outcome.task: outcome for outcome in run(engine, errands)}
    said = [outcomes[errand].error for errand in errands]
    assert said == [None, "ArithmeticError: no number fits", None, "SystemExit: 7", None]
    assert "raise ArithmeticError" in str(outcomes[errands[1]].trace)
    assert outcomes[errands[0]].trace is None
    for errand, error in zip(errands, said, strict=True):
        assert len(begun(tmp_path, errand.name)) == 1
        assert result(tmp_path, errand.name) in ([None] if error else ["cpu", "auto"])


def test_no_tasks_give_no_outcomes(engine: Engine) -> None:
    assert list(run(engine, [])) == []


def test_in_line_runs_a_task_when_its_outcome_is_asked_for(tmp_path: Path) -> None:
    outcomes = run(InLineEngine(), [Errand(tmp_path, name) for name in "ab"])
    assert begun(tmp_path) == []
    assert next(outcomes).task.name == "a"
    assert begun(tmp_path) == [os.getpid()]


def test_in_line_hands_on_a_stop_that_reaches_it_inside_a_task(tmp_path: Path) -> None:
    outcomes = run(InLineEngine(), [Errand(tmp_path, "a", "stop"), Errand(tmp_path, "b")])
    with pytest.raises(Stopped, match="asked to stop"):
        next(outcomes)
    assert result(tmp_path, "b") is None


def test_outcomes_come_in_the_order_in_which_tasks_end(tmp_path: Path) -> None:
    errands = [Errand(tmp_path, "first", "after second"), Errand(tmp_path, "second", "after third")]
    outcomes = run(ProcessEngine(3), [*errands, Errand(tmp_path, "third")])
    assert [outcome.task.name for outcome in outcomes] == ["third", "second", "first"]


def test_a_task_that_kills_its_worker_is_tried_again_and_takes_no_other_with_it(tmp_path: Path) -> None:
    whats = {"a": "die", "b": "nothing", "c": "die once", "d": "nothing", "e": "raise"}
    found = errors(run(ProcessEngine(2), [Errand(tmp_path, name, what) for name, what in whats.items()]))
    assert found == {
        "a": f"the worker died {RETRIES + 1} times (killed by signal 9: out of memory?)",
        **dict.fromkeys("bcd"),
        "e": "ArithmeticError: no number fits",
    }
    assert [len(begun(tmp_path, name)) for name in whats] == [3, 1, 2, 1, 1]
    assert [result(tmp_path, name) for name in whats] == [None, "cpu", "cpu", "cpu", None]


def test_workers_live_as_long_as_there_are_tasks(tmp_path: Path) -> None:
    assert errors(run(ProcessEngine(2), [Errand(tmp_path, f"t{i}") for i in range(9)])) == {
        f"t{i}": None for i in range(9)
    }
    assert len(begun(tmp_path)) == 9
    assert len(set(begun(tmp_path))) <= 2
    assert multiprocessing.active_children() == []


def test_an_idle_worker_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    outcomes = run(ProcessEngine(1), [Errand(tmp_path, name) for name in "abc"])
    next(outcomes)
    os.kill(begun(tmp_path, "a")[0], signal.SIGKILL)
    assert errors(outcomes) == {"b": None, "c": None}


def test_closing_the_iterator_leaves_no_process(tmp_path: Path) -> None:
    errands = [Errand(tmp_path, "quick"), *(Errand(tmp_path, name, "sleep") for name in "abc")]
    outcomes = run(ProcessEngine(2), errands)
    assert next(outcomes).task.name == "quick"
    wait_for(lambda: begun(tmp_path, "a"))
    started = time.monotonic()
    outcomes.close()
    assert time.monotonic() - started < 5
    assert multiprocessing.active_children() == []
    assert not any(alive(process) for process in begun(tmp_path))


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name
)
def test_a_driver_that_is_ended_leaves_no_workers(number: signal.Signals, tmp_path: Path) -> None:
    # a test run in the background ignores SIGINT, and what it starts would inherit that
    restore = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = (
        f"{restore}; import pathlib, sys; from support.errands import drive; drive(pathlib.Path(sys.argv[1]))"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: len([process for process in begun(tmp_path) if process]) == 2)
    workers = begun(tmp_path)
    assert all(alive(process) for process in workers)
    # Ctrl-C reaches the workers too, and is for the driver alone to answer
    (os.killpg if number == signal.SIGINT else os.kill)(driver.pid, number)
    _, said = driver.communicate(timeout=SECONDS)
    wait_for(lambda: not any(alive(process) for process in workers))
    last = {signal.SIGTERM: "efface.errors.Stopped: stopped by a signal", signal.SIGINT: "KeyboardInterrupt"}
    assert said.strip().endswith(last.get(number, ""))
    assert said.count("Traceback") == (number != signal.SIGKILL)


def test_a_worker_has_the_threads_that_were_asked_for_before_it_imports_torch(tmp_path: Path) -> None:
    before = dict(os.environ)
    (outcome,) = ProcessEngine(1, threads=2).run(look_at_threads, [tmp_path], Path.exists)
    assert outcome.error is None
    assert (tmp_path / "threads").read_text() == "False 2 2"
    assert dict(os.environ) == before


def test_devices_are_dealt_out_in_turn(tmp_path: Path) -> None:
    errands = [Errand(tmp_path, name, "device") for name in "abc"]
    assert errors(run(ProcessEngine(3, devices=["cuda:0", "cuda:1"]), errands)) == dict.fromkeys("abc")
    assert sorted(str(result(tmp_path, name)) for name in "abc") == ["cuda:0", "cuda:0", "cuda:1"]
    assert named_device() == "auto"


def test_workers_that_cannot_start_stop_the_run_with_a_reason(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import os\nfrom efface.benchmark.engines import ProcessEngine\n"
        "list(ProcessEngine(1).run(os.chdir, ['/'], bool))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "efface.errors.Stopped: 3 workers in a row ended before they could take a task (exit code 1)"
    )
    assert "`if __name__ == '__main__':`" in done.stderr.splitlines()[-1]


def test_what_cannot_be_sent_to_a_worker_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="define it with `def` at the top of a module"):
        list(ProcessEngine(1).run(lambda task: None, [1], bool))
    with pytest.raises(InputError, match="task 1 cannot be sent to another process"):
        list(ProcessEngine(1).run(print, [1, (lambda: None)], bool))
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("engine", [InLineEngine(), ProcessEngine(1)], ids=lambda engine: engine.name)
def test_reasons_tell_no_folder_and_the_trace_tells_all(engine: Engine, tmp_path: Path) -> None:
    (outcome,) = run(engine, [Errand(tmp_path, "a", "fail with a path")])
    assert outcome.error == "FileNotFoundError: [Errno 2] No such file or directory: '7.png'"
    assert "'/home/ann/cats/7.png'" in str(outcome.trace)


def test_a_task_that_leaves_no_result_has_failed(tmp_path: Path) -> None:
    seen = errors(run(InLineEngine(), [Errand(tmp_path, "a", "no result"), Errand(tmp_path, "b")]))
    assert seen == {"a": NO_RESULT, "b": None}


def test_a_result_that_is_seen_late_counts(tmp_path: Path) -> None:
    checks = dict.fromkeys("ab", 0)

    def late(errand: Errand) -> bool:
        checks[errand.name] += 1
        return errand.name == "b" or checks["a"] > 1

    outcomes = InLineEngine().run(do, [Errand(tmp_path, name) for name in "ab"], late)
    assert [(outcome.task.name, outcome.error) for outcome in outcomes] == [("b", None), ("a", None)]


def test_a_task_whose_worker_died_after_it_wrote_its_result_is_done(tmp_path: Path) -> None:
    outcomes = ProcessEngine(1).run(do, [Errand(tmp_path, "a", "die")], lambda errand: True)
    assert errors(outcomes) == {"a": None}
    assert len(begun(tmp_path)) == 1


def test_a_worker_that_leaves_without_a_word_has_died(tmp_path: Path) -> None:
    found = errors(run(ProcessEngine(2), [Errand(tmp_path, "a", "leave"), Errand(tmp_path, "b")]))
    assert found == {"a": f"the worker died {RETRIES + 1} times (exit code 0)", "b": None}


def test_tasks_whose_workers_died_run_after_the_others_and_at_last_alone(tmp_path: Path) -> None:
    whats = {"a": "die once", "b": "nothing", "c": "die twice", "d": "die twice", "e": "nothing"}
    outcomes = list(run(ProcessEngine(2), [Errand(tmp_path, name, what) for name, what in whats.items()]))
    assert [outcome.error for outcome in outcomes] == [None] * 5
    names = [outcome.task.name for outcome in outcomes]
    assert (set(names[:2]), names[2], set(names[3:])) == ({"b", "e"}, "a", {"c", "d"})
    # one worker for all that are left
    assert begun(tmp_path, "c")[2] == begun(tmp_path, "d")[2]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (-9, "killed by signal 9: out of memory?"),
        (-11, "killed by signal 11: Segmentation fault"),
    ],
)
def test_the_end_of_a_worker_is_said_in_words(code: int, words: str) -> None:
    assert ending(code) == words


GPUS = (("ray", "0.25"), ("ray:10.0.0.1:6379", ".5"), ("slurm", "1"), ("slurm:long", "2"))


def test_engines_are_made_by_name(tmp_path: Path) -> None:
    assert isinstance(engine_named("in-line"), InLineEngine)
    processes = engine_named("processes:4")
    assert isinstance(processes, ProcessEngine)
    assert processes.workers == 4
    shared = engine_named("processes:6@cuda:0, cuda:1")
    assert isinstance(shared, ProcessEngine)
    assert (shared.workers, shared.devices) == (6, ("cuda:0", "cuda:1"))
    default = engine_named(" processes ")
    assert isinstance(default, ProcessEngine)
    assert default.workers == len(os.sched_getaffinity(0))
    assert ProcessEngine(threads=10_000).workers == 1
    with_gpus = [engine_named(f"{text}@gpu={n}", tmp_path) for text, n in GPUS]
    assert [engine.gpus_per_task for engine in with_gpus] == [0.25, 0.5, 1, 2]  # type: ignore[attr-defined]
    assert [vars(engine).get("address") for engine in with_gpus[:2]] == [None, "10.0.0.1:6379"]
    assert [vars(engine).get("partition") for engine in with_gpus[2:]] == [None, "long"]
    assert all(engine.uses_gpu and engine.on_cluster for engine in with_gpus)
    made = [engine_named(text, tmp_path) for text in ("ray", "ray:10.0.0.1:6379", "slurm", "slurm:gpu")]
    assert [engine.name for engine in made] == ["ray", "ray", "slurm", "slurm"]
    assert [vars(engine).get("address") for engine in made] == [None, "10.0.0.1:6379", None, None]
    assert [vars(engine).get("partition") for engine in made] == [None, None, None, "gpu"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("proceses", "did you mean 'processes'. Valid: in-line, processes, ray, slurm"),
        ("processes:many", "'many' is no number of workers; write processes:4"),
        ("processes:0", "workers is 0: give 1 or more"),
        ("processes:2@gpu", "'gpu' are no devices; write processes:6@cuda:0,cuda:1"),
        ("slurm:", "nothing stands after the colon; write slurm or slurm:PARTITION"),
        ("ray@gpu=some", "'some' is no number of GPUs; write ray@gpu=1"),
        ("ray:@gpu=0.25", "nothing stands after the colon; write ray or ray:auto"),
        ("slurm:long@gpu=0.5", "Slurm gives whole GPUs; write slurm@gpu=1"),
        ("processes:4@gpu=1", "processes name their devices, as processes:6@cuda:0"),
        ("in-line:2", "in-line takes no argument; write in-line"),
    ],
)
def test_a_wrong_engine_is_refused_with_what_there_is(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        engine_named(text)


def test_all_faults_of_an_engine_are_named_at_once() -> None:
    with pytest.raises(InputError) as refused:
        ProcessEngine(0, threads=0, devices="cuda:0")
    assert [problem.split(" is ")[0] for problem in refused.value.problems] == [
        "workers",
        "threads",
        "devices",
    ]
