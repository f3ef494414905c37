"""How a command ends: whatever a person can mend is one message with its exit code, and nothing that is printed can
steer a terminal.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

import typer

from efface.errors import EffaceError, InputError, PluginWarning, Stopped, of_system
from efface.launcher import drop_leftovers
from efface.wording import printable_lines

CONTINUES = "What was finished is kept; the same command continues."
EXTRAS = {"sqlalchemy": "requests", "alembic": "requests", "psycopg": "postgresql"} | dict.fromkeys(
    ("fastapi", "uvicorn", "nacl", "cryptography", "httpx", "multipart", "python_multipart"), "server"
)
"""Packages that not everyone needs, and what to install for them."""
BEGINS_ANEW = "Nothing was kept; the same command begins anew."


def expected(verb: Callable[..., None], keeps: bool = True) -> Callable[..., None]:
    """A verb whose interruption, and whose errors of files and memory, are expected ends.

    keeps: whether what it had finished is kept, for the same command to go on from.
    """
    afterwards = CONTINUES if keeps else BEGINS_ANEW

    @functools.wraps(verb)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            verb(*arguments, **options)
        except KeyboardInterrupt:
            raise Stopped(f"stopped. {afterwards}") from None
        except MemoryError:
            raise Stopped(f"stopped: there is not enough memory. {afterwards}") from None
        except ModuleNotFoundError as error:
            if extra := EXTRAS.get((error.name or "").partition(".")[0]):
                raise InputError(
                    f"this needs packages that are not installed: pip install 'efface[{extra}]'"
                ) from None
            raise
        except BrokenPipeError:
            raise
        except OSError as error:
            raise of_system(error, afterwards) from error

    return run


def end(app: typer.Typer) -> None:
    """Carry out the command line and leave the process with its exit code."""
    warnings.showwarning = functools.partial(_show_warning, warnings.showwarning)
    logging.setLogRecordFactory(_printable_record)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every terminal has every letter
            stream.reconfigure(errors="backslashreplace")
    if launched := drop_leftovers():
        _tell(launched)
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever read the output has had enough of it: nothing is left to be said, not even when Python flushes it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Stopped.exit_code)
    except KeyboardInterrupt:
        _tell("stopped.")
        sys.exit(Stopped.exit_code)
    except EffaceError as error:
        _tell(str(error))
        sys.exit(error.exit_code)
    except Exception as error:
        if isinstance(code := getattr(error, "exit_code", None), int) and hasattr(error, "show"):
            # of the command line's library: wrong options
            with redirect_stderr(io.StringIO()) as said:
                error.show()
            _write(said.getvalue())
        else:
            code = EffaceError.exit_code
            _write(traceback.format_exc())
    sys.exit(code if isinstance(code, int) else 0)


def _show_warning(
    otherwise: Callable[..., None], message: Warning | str, category: type[Warning], *place: Any, **more: Any
) -> None:
    """A plug-in that is left out is for the person at the keyboard; where the code says so is not."""
    if issubclass(category, PluginWarning):
        _tell(f"warning: {message}")
    else:
        otherwise(printable_lines(str(message)), category, *place, **more)


_record = logging.getLogRecordFactory()


def _printable_record(*arguments: Any, **more: Any) -> logging.LogRecord:
    record = _record(*arguments, **more)
    record.msg, record.args = printable_lines(record.getMessage()), ()
    return record


def _tell(text: str) -> None:
    _write(f"efface: {text}\n")


def _write(text: str) -> None:
    sys.stderr.write(printable_lines(text))
