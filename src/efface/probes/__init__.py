"""Probes: questions that decide whether a model has really forgotten. `registry.read_probe("membership")` makes one.

Importing this package does not import torch.
"""
