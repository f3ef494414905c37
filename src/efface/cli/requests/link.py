"""`efface requests link`"""

from __future__ import annotations

import efface.cli.options as o
from efface.cli.requests.options import LedgerFolder, Request, open_ledger


def link(request: Request, ledger: LedgerFolder = None, json_: o.Json = False) -> None:
    """Print the secret address of a person's page, to be given to that person alone.

    There the person sees state, dates and letter, and can withdraw. A new key of the ledger ends all such addresses.

    Example: efface requests link R-00017"""
    from efface.ledger.requests import request_named
    from efface.requests.links import link_to

    opened = open_ledger(ledger)
    with opened.reading() as session:
        named = request_named(session, request).id
    address = link_to(opened.key, named, opened.policy.service.public_url or "http://127.0.0.1:8080")
    if json_:
        o.show({"request": named, "link": address})
    else:
        o.say(address)
