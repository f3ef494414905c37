"""The states of a request, which of them may follow which, and what they are called elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from efface.errors import InputError


class State(StrEnum):
    """Where a request stands."""

    received = "received"
    needs_input = "needs-input"
    located = "located"
    approved = "approved"
    in_work = "in-work"
    done = "done"
    not_found = "not-found"
    refused = "refused"
    withdrawn = "withdrawn"


MEANINGS: Mapping[State, str] = {
    State.received: "taken in; its images have not been looked for",
    State.needs_input: "something is asked of the person, or of the operator, before it goes on",
    State.located: "its images are known, and a person is to decide",
    State.approved: "it is to be carried out",
    State.in_work: "a run has begun",
    State.done: "carried out for every affected model in service",
    State.not_found: "no image of any set is meant",
    State.refused: "it is not carried out, for the reason given",
    State.withdrawn: "taken back by the person before work began",
}
MOVES: Mapping[State, frozenset[State]] = {
    State.received: frozenset(
        {State.located, State.not_found, State.needs_input, State.refused, State.withdrawn}
    ),
    State.needs_input: frozenset(
        {State.received, State.located, State.approved, State.not_found, State.refused, State.withdrawn}
    ),
    State.located: frozenset(
        {State.located, State.approved, State.not_found, State.needs_input, State.refused, State.withdrawn}
    ),
    # a further image may be found; nothing may be affected
    State.approved: frozenset(
        {State.located, State.in_work, State.done, State.needs_input, State.refused, State.withdrawn}
    ),
    # a run that failed is begun anew; one whose requirements are not met waits for the operator
    State.in_work: frozenset({State.approved, State.done, State.needs_input}),
    # more photos come in, or an objection is upheld
    State.not_found: frozenset({State.received, State.located}),
    State.refused: frozenset({State.received}),
    State.done: frozenset(),
    State.withdrawn: frozenset(),
}
ENDED = frozenset({State.done, State.not_found, State.refused, State.withdrawn})
"""States in which nothing more is to be done but to answer."""


@dataclass(frozen=True)
class Elsewhere:
    """What a state is called by OpenDSR 2.0, by the Data Rights Protocol 1.0 and by Fides, if they have it."""

    opendsr: str
    drp: str
    fides: str | None


ELSEWHERE: Mapping[State, Elsewhere] = {
    State.received: Elsewhere("pending", "open", "pending"),
    State.needs_input: Elsewhere("pending", "in_progress", "requires_input"),
    State.located: Elsewhere("pending", "in_progress", "pending"),
    State.approved: Elsewhere("in_progress", "in_progress", "approved"),
    State.in_work: Elsewhere("in_progress", "in_progress", "in_processing"),
    State.done: Elsewhere("completed", "fulfilled", "complete"),
    State.not_found: Elsewhere("completed", "denied", "denied"),
    State.refused: Elsewhere("cancelled", "denied", "denied"),
    State.withdrawn: Elsewhere("cancelled", "revoked", None),
}


def check_move(request: str, before: State, after: State) -> None:
    """Raise `InputError` unless a request may go from one state to the other."""
    if after not in MOVES[before]:
        possible = ", ".join(sorted(MOVES[before])) or "nothing: this is its end"
        raise InputError(f"{request} is {before} ({MEANINGS[before]}); from there it can become {possible}")
