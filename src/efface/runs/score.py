"""The result file of `efface score`."""

from __future__ import annotations

from pathlib import Path

from efface.files import write_json
from efface.forgetting.comparison import ScoreRange
from efface.forgetting.facts import ScoreFacts

__all__ = ["ScoreFacts", "ScoreRange", "write_score"]


def write_score(facts: ScoreFacts, folder: Path) -> Path:
    """Write `folder/score.json`, atomically; returns its path."""
    path = Path(folder) / "score.json"
    write_json(path, facts.as_dict())
    return path
