"""`efface requests verify`"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import efface.cli.options as o
from efface.cli.requests.options import LedgerFolder, open_ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from efface.runs.verification import Check


def verify(ledger: LedgerFolder = None, json_: o.Json = False) -> None:
    """Check the ledger: its chain of events, its tables against the events, and whether erasure is on time.

    Exit code 5 if anything differs.

    Example: efface requests verify"""
    from efface.ledger.verifying import verify_ledger

    tell_checks(verify_ledger(open_ledger(ledger)), json_)


def tell_checks(checks: Sequence[Check], json_: bool) -> None:
    """Print checks; raises `Mismatch` where one differs."""
    from efface.errors import Mismatch
    from efface.runs.verification import summary

    differing = [check for check in checks if not check.passed]
    if json_:
        o.show({"checks": [asdict(check) for check in checks], "passed": not differing})
    else:
        width = max(len(check.what) for check in checks)
        for check in checks:
            o.say(f"{check.what:<{width}}  {check.outcome:<11}  {check.detail}")
        o.say(summary(list(checks)))
    if differing:
        raise Mismatch(
            f"{len(differing)} of {len(checks)} checks failed: {', '.join(check.what for check in differing)}"
        )
