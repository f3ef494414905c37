"""The tiny models and made pictures live with the contract tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "contracts"))

from training_fixtures import data, one_thread  # noqa: F401
