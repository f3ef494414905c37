"""The command line in this process."""

from support.run_fixtures import cli, undrawn

__all__ = ["cli", "undrawn"]
