"""The fixtures of whole runs."""

from __future__ import annotations

from support.opened_once import opened_once
from support.run_fixtures import cli, finished, photos, tiny, undrawn

__all__ = ["cli", "finished", "opened_once", "photos", "tiny", "undrawn"]
