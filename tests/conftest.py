"""Settings that must stand before any import: no network, one thread per worker, `support` for processes too."""

import gc
import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
)


def flushed(handle: int) -> None:
    """In the place of `os.fsync`: no test sees whether a disk has emptied its cache, and waiting for it takes long."""
    os.fstat(handle)


os.fsync = flushed


def pytest_collection_finish() -> None:
    """What imports and collection made is there to stay: no search for garbage need go through it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Several workers take whole stretches of the tests, so that few make the same runs for their tests twice."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"
