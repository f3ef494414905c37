"""The engines lie in `efface.benchmark.engines`. Only one test still asks here; this module goes with it."""

from efface.benchmark.engines import InLineEngine

__all__ = ["InLineEngine"]
