"""A signal at a step, as a user or a scheduler would send it."""

from __future__ import annotations

import os
import signal
from typing import Any

from efface.progress import Progress


class StopAt(Progress):
    """Sends this process a signal once `step` is done, as a user or a scheduler would."""

    def __init__(self, step: int, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.step, self.number = step, number
        self.events: list[tuple[str, dict[str, Any]]] = []

    def log(self, event: str, **values: Any) -> None:
        self.events.append((event, values))
        if event == "step" and values["step"] == self.step:
            os.kill(os.getpid(), self.number)
