"""The tiny models and made pictures live with the contract tests."""

from support.training_fixtures import data, one_thread  # noqa: F401
