"""What `docs/make.py` writes into the docs is what stands there."""

from __future__ import annotations

from pathlib import Path

import pytest

import make

DOCS = Path(make.__file__).parent


@pytest.mark.parametrize("page", make.PAGES)
def test_the_tables_of_a_page_are_current(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert make.with_tables(page, text) == text, f"run python docs/make.py {page}"


def test_a_page_without_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"record.md has no table"):
        make.with_tables("record.md", "# The record\n")
