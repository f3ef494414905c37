"""Formats in which requests come in and are answered: published ones, lists of hashes, photos. Pure functions."""
