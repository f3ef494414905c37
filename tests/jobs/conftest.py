"""The fixtures of whole runs."""

from __future__ import annotations

from support.classifier_fixtures import digits, forget_digits, story
from support.family_runs import stories
from support.opened_once import opened_once
from support.run_fixtures import cli, finished, photos, tiny, undrawn

__all__ = [
    "cli",
    "digits",
    "finished",
    "forget_digits",
    "opened_once",
    "photos",
    "stories",
    "story",
    "tiny",
    "undrawn",
]
