"""The fixtures of whole runs."""

from __future__ import annotations

from support.run_fixtures import cli, finished, photos, tiny, undrawn

__all__ = ["cli", "finished", "photos", "tiny", "undrawn"]
