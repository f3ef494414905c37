"""Classifiers, for the benchmark."""
