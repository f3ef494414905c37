"""An engine as a setting: its text, checked when settings are read."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from efface.errors import InputError
from efface.oracles.engines import engine_named


def _known(text: str) -> str:
    try:
        engine_named(text)
    except InputError as error:
        raise ValueError(str(error)) from None
    return text


EngineText = Annotated[str, AfterValidator(_known)]
"""`in-line`, `processes:4` and so on, as `engine_named` reads it."""
