"""What is read before any work must not cost an import of torch; what is shipped must not need what tests need."""

import re
import subprocess
import sys
from pathlib import Path

import efface

STEPS = [
    "import efface",
    "import efface.cli; assert 'scipy.stats' not in sys.modules",
    "import efface.corruptions",
    "import efface.forgetting.comparison",
    "import efface.generators",
    "import efface.generators.mae.family",
    "import efface.generators.registry",
    "import efface.generators.families",
    "import efface.classifiers, efface.classifiers.architecture, efface.classifiers.layouts",
    "import efface.methods",
    "list(efface.methods.GENERATOR_METHODS), list(efface.methods.CLASSIFIER_METHODS)",
    "import efface.plugins, efface.progress, efface.randomness, efface.settings",
    "import efface.training.phases, efface.training.settings",
    "import efface.metrics.extractors",
    "from efface.metrics.catalogue import METRICS; assert len(METRICS) >= 14",
    "import efface.evaluation.drift",
    "import efface.probes.registry",
    "import efface.runs.requirements, efface.runs.config",
    "import efface.reports.page",
    "import efface.benchmark.engines as engines; engines.engine_named('slurm'); engines.engine_named('ray')",
    "assert 'cloudpickle' not in sys.modules",
    "from efface.benchmark.config import entries, read_bench",
    "from efface.benchmark.classifiers.task import ClassifierBench; entries(read_bench(ClassifierBench, 'digits'))",
    "import efface.benchmark.generators.task, efface.benchmark.results",
    "from efface.benchmark.classifiers.task import task_named; from efface.images.datasets import open_dataset",
    "open_dataset(task_named('digits').images)",
    "import efface.cli",
    "import efface.ledger.copy_indexes, efface.ledger.models, efface.ledger.rotation, efface.ledger.sweeping",
    "import efface.requests.intake",
]
HEAVY = ("torch", "matplotlib", "ray", "submitit")


def test_what_comes_before_work_imports_no_torch_and_nothing_that_clusters_or_charts_need() -> None:
    code = f"import sys\nfor step in {STEPS}:\n    exec(step)\n"
    code += f"    if (heavy := set({HEAVY}) & set(sys.modules)): sys.exit(f'{{step}}: {{heavy}}')"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_module_imports_pytest() -> None:
    for path in Path(efface.__file__).parent.rglob("*.py"):
        assert not re.search(r"^\s*(import|from) _?pytest", path.read_text(encoding="utf-8"), re.MULTILINE), (
            path
        )
