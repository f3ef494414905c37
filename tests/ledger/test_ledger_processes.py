"""Several processes work on one ledger at once: all that they write is there, and the chain never forks."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from efface.ledger import events
from efface.ledger.opening import HEAD, Ledger
from efface.ledger.requests import count_by_state
from efface.ledger.states import State
from ledger.conftest import BOTH

WRITE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from efface.ledger.opening import Ledger
from efface.ledger.requests import NewRequest, add_request

ledger = Ledger.open(Path(sys.argv[1]))
for number in range(20):
    with ledger.session() as session:
        new = NewRequest(sys.argv[2], "csv", datetime.now(UTC), ["ab" * 32], f"{number}")
        add_request(ledger, session, new, sys.argv[2])
"""


@BOTH
def test_two_processes_never_fork_the_chain(ledger: Ledger) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, str(ledger.place), name], stderr=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    said = [writer.communicate()[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], said
    with ledger.reading() as session:
        assert events.check_chain(session).number == 41
        assert count_by_state(session) == {State.received: 40}
        by_number = [event.actor for event in events.events_after(session, 1)]
    assert set(by_number) == {"one", "two"}


@BOTH
def test_threads_of_a_server_leave_the_newest_head_beside_the_database(ledger: Ledger) -> None:
    def write(thread: int) -> None:
        for number in range(15):
            with ledger.session() as session:
                events.append(session, "photo-added", "ada", request=f"R-{thread}", image=f"{number}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    with ledger.reading() as session:
        end = events.check_chain(session)
    assert end.number == 121
    assert json.loads((ledger.place / HEAD).read_text(encoding="utf-8")) == end.as_dict()
