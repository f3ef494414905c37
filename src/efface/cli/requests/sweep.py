"""`efface requests sweep`"""

from __future__ import annotations

import efface.cli.options as o
from efface.cli.requests.options import By, LedgerFolder, actor, open_ledger
from efface.wording import counted


def sweep(ledger: LedgerFolder = None, by: By = None, json_: o.Json = False) -> None:
    """Erase what the policy says is to be kept no longer: supplied photos, names, addresses, letters. Made for cron.

    Example: efface requests sweep --ledger /srv/ledger"""
    from efface.ledger.sweeping import sweep as erase

    swept = erase(open_ledger(ledger), actor(by))
    if json_:
        o.show(swept.as_dict())
        return
    o.say(f"{counted(swept.photos, 'photo')} and {counted(swept.personal, 'personal file')} erased")
    if swept.abandoned:
        o.say(f"{counted(swept.abandoned, 'file')} removed that a stopped command left in uploads/")
