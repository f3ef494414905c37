"""The fixtures of whole runs."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "jobs"))

from classifier_fixtures import digits, forget_digits, story
from run_fixtures import cli, finished, photos, tiny

__all__ = ["cli", "digits", "finished", "forget_digits", "photos", "story", "tiny"]
