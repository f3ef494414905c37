"""`efface requests verify`"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import efface.cli.options as o
from efface.cli.requests.options import LedgerFolder, open_ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from efface.runs.verification import Check

OF_LEDGER = "What matches agrees with the chain of events. That shows neither who wrote it nor that what it tells was done."
OF_ARCHIVE = (
    "What matches is as it was when the archive was made. That its events stand in the ledger's chain only the ledger can "
    "show; nor does it show that the operator ran what a record says."
)


def verify(
    archive: Annotated[
        Path | None, typer.Argument(help="An archive of `efface requests export`; the ledger without.")
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option(help="The signer's public key (PEM), to check signatures in an archive.")
    ] = None,
    ledger: LedgerFolder = None,
    json_: o.Json = False,
) -> None:
    """Check the ledger: its chain of events, its tables against the events, and whether erasure is on time.

    Or check the evidence of a request in one file, which needs no ledger. Exit code 5 if anything differs.

    Example: efface requests verify
    Example: efface requests verify R-00017.zip"""
    from efface.errors import InputError

    if archive is not None:
        from efface.requests.export import verify_archive

        if ledger is not None:
            raise InputError("an archive is checked by itself: leave --ledger out")
        tell_checks(verify_archive(archive, public_key), OF_ARCHIVE, json_)
        return
    if public_key is not None:
        raise InputError("--public-key goes with an archive")
    from efface.ledger.verifying import verify_ledger

    tell_checks(verify_ledger(open_ledger(ledger)), OF_LEDGER, json_)


def tell_checks(checks: Sequence[Check], meaning: str, json_: bool) -> None:
    """Print checks and what a match means; raises `Mismatch` where one differs."""
    from efface.errors import Mismatch
    from efface.runs.verification import summary
    from efface.wording import printable

    differing = [check for check in checks if not check.passed]
    if json_:
        o.show({"checks": [asdict(check) for check in checks], "passed": not differing})
    else:
        width = max(len(printable(check.what)) for check in checks)
        for check in checks:
            line = f"{printable(check.what):<{width}}  {check.outcome:<11}  {printable(check.detail)}"
            o.say(line.rstrip())
        o.say(summary(list(checks), meaning))
    if differing:
        what = ", ".join(printable(check.what) for check in differing)
        raise Mismatch(f"{len(differing)} of {len(checks)} checks failed: {what}")
