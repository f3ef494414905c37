"""Stand-ins in the place of all that a registry holds."""

from __future__ import annotations

from typing import Any

import pytest

from efface.plugins import Registry


def only(patch: pytest.MonkeyPatch, registry: Registry[Any], *things: Any) -> None:
    """Let a registry hold these alone."""
    with registry.added(*things):
        entries = {thing.name: registry._entries[thing.name] for thing in things}
    patch.setitem(registry.__dict__, "_entries", entries)
