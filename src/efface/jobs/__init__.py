"""Whole jobs, from config to report: what the command line and the Python API call."""
