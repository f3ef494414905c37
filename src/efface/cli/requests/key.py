"""`efface requests key`: the key of keyed ids."""

from __future__ import annotations

import efface.cli.options as o
from efface.cli.requests.options import By, LedgerFolder, actor, open_ledger
from efface.wording import counted


def rotate(ledger: LedgerFolder = None, by: By = None, json_: o.Json = False) -> None:
    """Make all keyed ids and masked fingerprints anew under a new key, in one transaction.

    Events written before keep their ids, which nobody can make without the old key. A server must be started anew.

    Example: efface requests key rotate"""
    from efface.ledger.rotation import rotate_key

    opened = open_ledger(ledger)
    count = rotate_key(opened, actor(by))
    if json_:
        o.show({"ids": count})
        return
    o.say(f"{counted(count, 'id')} made anew; keep a copy of {opened.key_file} apart from the database")
