"""What is read before any work must not cost an import of torch."""

import subprocess
import sys

MODULES = [
    "efface",
    "efface.corruptions",
    "efface.forgetting.comparison",
    "efface.generators",
    "efface.generators.mae.family",
    "efface.generators.registry",
    "efface.generators.settings",
    "efface.methods",
    "efface.plugins",
    "efface.progress",
    "efface.randomness",
    "efface.settings",
    "efface.training.phases",
    "efface.training.settings",
]


def test_settings_methods_and_corruptions_import_no_torch() -> None:
    registries = "efface.methods.GENERATOR_METHODS, efface.methods.CLASSIFIER_METHODS"
    code = f"import sys, {', '.join(MODULES)}; print(*map(len, ({registries}))); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
