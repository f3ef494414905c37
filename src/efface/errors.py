"""What can go wrong, said to the person at the keyboard.

Every error that efface raises on purpose is an `EffaceError`; the command line prints its message
without a traceback and exits with its `exit_code`. Anything else is a defect of efface.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

EXIT_CODES = {
    0: "done",
    1: "a fault of efface itself (a traceback is shown)",
    2: "the input is wrong; nothing was changed, and the message names every fault found",
    3: "the output folder is refused: not a run, another config, or in use",
    4: "stopped before the end; what was done is kept and the same command continues",
    5: "`efface verify` found something that does not match its record",
    6: "a requirement is not met or cannot be measured, or the model is ruined; the run itself is complete",
}


class EffaceError(Exception):
    """Base of all expected errors. `str(error)` is a complete message for a person."""

    exit_code: ClassVar[int] = 1


class InputError(EffaceError):
    """The input is wrong; raised before anything changes.

    `problems` holds each fault as one sentence that says what, where, and what to do.
    """

    exit_code = 2

    def __init__(self, *problems: str, what: str = "") -> None:
        self.problems = problems
        self.what = what
        heading = what or (f"{len(problems)} things are wrong" if len(problems) > 1 else "")
        lines = [heading + ":"] if heading else []
        lines += [f"  - {problem}" for problem in problems] if heading else list(problems)
        super().__init__("\n".join(lines))


class RunRefused(EffaceError):
    """The output folder cannot take this run."""

    exit_code = 3


class Stopped(EffaceError):
    """Work stopped before its end, with everything needed to continue on disk."""

    exit_code = 4


class Mismatch(EffaceError):
    """A digest does not match what the record says."""

    exit_code = 5


class RequirementsNotMet(EffaceError):
    """The run is complete; a requirement is not met or cannot be measured, or the model is ruined."""

    exit_code = 6


class PluginWarning(UserWarning):
    """Something that another package adds cannot be used and is left out."""


NAMES_AND_RIGHTS = (
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP,
    errno.ENAMETOOLONG, errno.EINVAL, errno.ENOTEMPTY, errno.EXDEV,
)  # fmt: skip


def of_system(error: OSError, afterwards: str) -> EffaceError:
    """An error of files in words: of a name or of rights it is wrong input, else (a full disk) the work has stopped.

    afterwards: what the same command does then.
    """
    where = f"{error.filename}: " if error.filename else ""
    reason = f"{where}{error.strerror or error}"
    if error.errno in NAMES_AND_RIGHTS:
        return InputError(f"{reason}. Name another place, or mend this one")
    return Stopped(f"stopped: {reason}. Remove the cause. {afterwards}")


class Faults:
    """Collects faults and raises them together when the `with` block ends.

        with Faults("the forget list does not fit the images") as faults:
            faults.add("row 3: no such file: cats/7.png")

    An exception that leaves the block by itself wins over the collected faults, except an
    `InputError`, whose problems are added to the list.
    """

    def __init__(self, what: str = "") -> None:
        self.what = what
        self.problems: list[str] = []

    def add(self, problem: str) -> None:
        self.problems.append(problem)

    def tried(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T | None:
        """What `function` gives, or None where it raises an `InputError`, whose problems are collected."""
        try:
            return function(*arguments, **options)
        except InputError as error:
            self.problems += error.problems
            return None

    def __bool__(self) -> bool:
        return bool(self.problems)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, InputError) and self.problems:
            raise InputError(*self.problems, *error.problems, what=self.what) from error
        if error is None and self.problems:
            raise InputError(*self.problems, what=self.what)
