"""`efface requests notify`"""

from __future__ import annotations

import efface.cli.options as o
from efface.cli.requests.options import LedgerFolder, open_ledger
from efface.wording import counted


def notify(ledger: LedgerFolder = None, json_: o.Json = False) -> None:
    """Tell senders of new states of their requests, at the addresses that they gave; for cron, where no service runs.

    Only hosts of the policy are called (service.callback_hosts). Failed calls are made anew, later each time.

    Example: efface requests notify"""
    from efface.server.app import signer_of
    from efface.server.callbacks import deliver

    opened = open_ledger(ledger)
    good, failed = deliver(opened, signer_of(opened))
    if json_:
        o.show({"told": good, "failed": failed})
    else:
        o.say(f"{counted(good, 'sender')} told, {failed} failed")
