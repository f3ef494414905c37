"""Makes what the docs do not say by hand: tables, and pictures of figures.

    python docs/make.py                        all tables, and all pictures but the demo's
    python docs/make.py search.md theory.md    those of some pages
    python docs/make.py --demo runs/demo       the picture in the README, of a finished demo

A table stands in its page between `<!-- NAME -->` and `<!-- end -->`; `PAGES` says which module of `making/` writes it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from making import (
    classifier_tables,
    copies,
    corruptions,
    demo,
    generator_tables,
    methods,
    planted,
    probes,
    record,
    reproducibility,
    scale,
    score,
    sequences,
    statistics,
    studies,
    theory,
    verdict,
)
from making.pictures import save

DOCS = Path(__file__).parent
MARKED = re.compile(r"(<!-- (?!end)([^>]+?) -->\n).*?(<!-- end -->)", re.S)
PAGES: Mapping[str, Callable[[str], str]] = {
    "../README.md": lambda name: tables_of(name)(name),
    "benchmark.md": classifier_tables.table,
    "images.md": copies.table,
    "methods/README.md": methods.table,
    "probes/README.md": probes.table,
    "record.md": record.table,
    "forgetting/statistics.md": statistics.table,
    "reproducibility.md": reproducibility.table,
    "search.md": generator_tables.table,
    "generator-benchmark.md": generator_tables.table,
    "scale.md": scale.table,
    "sequences.md": sequences.table,
    "studies.md": studies.table,
    "forgetting/score.md": score.table,
    "theory.md": theory.table,
    "verdict.md": verdict.table,
    "planted.md": planted.table,
}
PICTURES = {
    "corruptions.md": corruptions.pictures,
    "forgetting/score.md": score.pictures,
    "scale.md": scale.pictures,
    "sequences.md": sequences.pictures,
    "theory.md": theory.pictures,
}


def tables_of(name: str) -> Callable[[str], str]:
    """Who writes a table of the README, which shows both kinds of benchmarks."""
    return classifier_tables.table if name in classifier_tables.ROWS else generator_tables.table


def with_tables(page: str, text: str) -> str:
    """The text of a page with every table in it made anew; raises `ValueError` where a page has none."""
    made, count = MARKED.subn(lambda mark: mark[1] + PAGES[page](mark[2]) + mark[3], text)
    if not count:
        raise ValueError(f"{page} has no table: one stands between <!-- NAME --> and <!-- end -->")
    return made


def main() -> None:
    every = dict.fromkeys((*PAGES, *PICTURES))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", nargs="*", choices=[*every, []], metavar="PAGE", help=", ".join(every))
    parser.add_argument("--demo", type=Path, help="the folder of a finished demo")
    parser.add_argument("--out", type=Path, default=DOCS / "demo.png", help="where its picture goes")
    given = parser.parse_args()
    if given.demo:
        save(demo.picture(given.demo), given.out)
        return
    for page in given.pages or every:
        if page in PAGES:
            path = DOCS / page
            path.write_text(with_tables(page, path.read_text(encoding="utf-8")), encoding="utf-8")
        for name, picture in (PICTURES[page]() if page in PICTURES else {}).items():
            save(picture, (DOCS / page).parent / name)
        print(page)


if __name__ == "__main__":
    main()
