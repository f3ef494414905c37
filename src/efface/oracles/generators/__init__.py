"""Many generators of one task: trained, retrained, unlearned, and their answers kept. Importing this imports no torch."""

from efface.oracles.generators.settings import GeneratorTask

__all__ = ["GeneratorTask"]
