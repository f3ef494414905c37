"""Verification in tests: of models whose files are the same the first is opened, and its digest holds for the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from efface.files import sha256_of_file
from efface.runs import verification

DIGESTS: dict[tuple[str, ...], str] = {}


@pytest.fixture
def opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("load_generator", "load_classifier"):
        monkeypatch.setattr(verification, name, remembering(name, getattr(verification, name)))


def remembering(name: str, load: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def opened(settings: Any) -> Any:
        model = Path(settings.path)
        files = [model] if model.is_file() else sorted(path for path in model.rglob("*") if path.is_file())
        digests = [f"{path.relative_to(model)} {sha256_of_file(path)}" for path in files]
        key = (name, repr({**settings.as_dict(), "path": ""}), *digests)
        if key not in DIGESTS or not digests:
            DIGESTS[key] = load(settings).weights_digest()
        return SimpleNamespace(weights_digest=lambda: DIGESTS[key])

    return opened
