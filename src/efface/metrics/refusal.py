"""The one error that metrics raise when they are given something that they cannot measure."""

from __future__ import annotations

from efface.errors import InputError


class MetricInputError(InputError, ValueError):
    """A metric was asked for a number that its input cannot support; the message says what to do.

    It is an `InputError`, so that the command line prints it without a traceback, and a
    `ValueError`, as callers of a numeric function expect.
    """
