"""The fixtures of whole runs."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "jobs"))

from run_fixtures import cli, finished, photos, tiny

__all__ = ["cli", "finished", "photos", "tiny"]
