"""`efface requests show`"""

from __future__ import annotations

import efface.cli.options as o
from efface.cli.requests.list import tell_requests
from efface.cli.requests.options import LedgerFolder, Request, open_ledger
from efface.ledger.states import MEANINGS


def show(request: Request, ledger: LedgerFolder = None, json_: o.Json = False) -> None:
    """Show one request: the person, the images, what was decided.

    Example: efface requests show R-00017"""
    from efface.ledger.requests import facts_of, request_named

    with open_ledger(ledger).reading() as session:
        full = facts_of(session, request_named(session, request))
    if json_:
        o.show(full.as_dict())
        return
    tell_requests([full])
    o.say(f"{full.state}: {MEANINGS[full.state]}" + (f" ({full.reason})" if full.reason else ""))
    o.say(f"received {full.received}, sender's id {full.sender_id}, answered {full.answered or 'not yet'}")
    if full.personal_erased:
        o.say(f"name, contact and letter were erased {full.personal_erased}")
    elif full.name or full.contact:
        o.say(f"of {', '.join(filter(None, (full.name, full.contact)))}")
    for one in full.located_images:
        by = f" by {one.decided_by}" if one.decided_by else ""
        o.say(f"  {one.number:>5}  {one.how:<10}  {one.score:.3f}  {one.decision}{by}  {one.set}: {one.path}")
    for decision in full.decisions:
        reason = f": {decision.reason}" if decision.reason else ""
        o.say(f"{decision.time}  {decision.kind} by {decision.actor}{reason}")
