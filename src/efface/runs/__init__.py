"""The run folder, its config and its record."""
