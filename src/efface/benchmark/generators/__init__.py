"""Many generators of one task: trained, retrained, unlearned, and their answers kept. Importing this imports no torch."""

from efface.benchmark.generators.task import GeneratorTask

__all__ = ["GeneratorTask"]
