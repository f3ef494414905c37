"""Probes: questions that decide whether a generator has really forgotten. `probe_named("detectability")` makes one.

Importing this package does not import torch.
"""
