"""The file beside this one has moved to `tests/benchmark`; it goes with the next change there."""

collect_ignore = ["test_oracles_generators.py"]
