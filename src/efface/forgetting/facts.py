"""What a scored comparison leaves behind: `score.json`, from which the page and the command line speak."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from efface.errors import InputError
from efface.forgetting.apart import ToldApart
from efface.forgetting.comparison import Comparison, FinalScore, Mode, ScoreRange
from efface.forgetting.official import BIN_WIDTH, CAP, points_of
from efface.forgetting.robust import Tail
from efface.settings import Settings
from efface.wording import counted

MOST_EXAMPLES = 20
"""Examples named in `worst`."""


class ExampleFacts(Settings):
    """One of the examples on which unlearned and retrained models differ most."""

    name: str = Field(description="its name as given, else its place from 0")
    epsilon: float = Field(description="its epsilon; 50 is the cap")
    is_capped: bool = Field(description="whether the two kinds of models were told apart entirely")
    epsilon_low: float | None = Field(description="the least epsilon that was shown at 95 %; robust mode")
    points: float = Field(description="points that the official rule gives it")


class Bar(Settings):
    """A bar of the histogram of epsilon, `bar_width` wide."""

    left: float = Field(description="left edge")
    count: int = Field(description="examples in it")


class ScoreFacts(Settings):
    """A forgetting score with what it must be read beside; scores: 1 is best, 0 worst."""

    mode: Mode = Field(
        description="official: the competition's rule; robust: thresholds from one half of the models"
    )
    models: int = Field(description="models a side of the score")
    examples: int = Field(description="examples")
    score: float = Field(description="the score, to be read between floor and ceiling")
    interval: tuple[float, float] = Field(description="its 95 % interval")
    bootstrap: tuple[float, float] = Field(description="its 95 % interval by resampling models and examples")
    apart: ToldApart = Field(description="whether the models are told apart from retrained ones, and how far")
    tail: Tail | None = Field(description="the examples on which they are most unlike; robust mode")
    tail_by_chance: Tail | None = Field(description="the same with labels dealt anew, mean over deals")
    equal_models: int = Field(description="models a side of the levels below")
    score_at_equal_models: ScoreRange = Field(description="the score again")
    ceiling: ScoreRange = Field(description="retrained models against retrained ones")
    floor: ScoreRange = Field(description="models told apart on every example")
    do_nothing: ScoreRange | None = Field(description="original models against retrained ones, where given")
    share_of_ceiling: float | None = Field(
        description="(score - floor) / (ceiling - floor) at equal_models; null where they overlap"
    )
    power: float = Field(
        description="share of the distance between floor and ceiling that chance leaves free"
    )
    measurable: bool = Field(description="whether floor and ceiling do not overlap")
    verdict: str = Field(description="what follows, in words")
    notes: tuple[str, ...] = Field(description="what is odd about the arrays: models or examples that repeat")
    final: FinalScore = Field(description="the competition's final score")
    unresolved: tuple[int, ...] = Field(
        description="places of examples of which the official grid says nothing"
    )
    imprecise: tuple[int, ...] = Field(
        description="places of examples that cannot be resolved at the arrays' precision: their values are all equal, or "
        "lie within 16 of its steps"
    )
    epsilon: tuple[float, ...] = Field(description="epsilon of each example; 50 is the cap")
    epsilon_low: tuple[float, ...] | None = Field(
        description="the least epsilon of each that was shown at 95 %"
    )
    median_epsilon: float = Field(description="median of epsilon")
    median_at_cap: bool = Field(
        description="whether the median is at the cap, which stands for all that is larger"
    )
    resolved_share: float = Field(description="share of examples with epsilon below bar_width")
    named: bool = Field(description="whether names were given")
    worst: tuple[ExampleFacts, ...] = Field(description="the examples of largest epsilon, at most 20")
    bar_width: float = Field(description="width of the histogram's bars, the official bin")
    bars: tuple[Bar, ...] = Field(description="the histogram of epsilon below the cap")
    capped: int = Field(description="examples at the cap")

    @property
    def resolution(self) -> list[str]:
        """A sentence on examples that cannot be resolved at the arrays' precision, and one on others within the grid."""
        within = len(set(self.unresolved) - set(self.imprecise))
        said = []
        if self.imprecise:
            said.append(
                f"{len(self.imprecise)} of {self.examples} examples cannot be resolved at the arrays' precision: their "
                "values are all equal, or lie within 16 of its steps"
            )
        if within:
            said.append(
                f"the official rule says nothing of {within} {'further' if self.imprecise else 'of the'} examples, whose "
                "values lie within one step of its grid; use the robust mode"
            )
        return said


def facts_of(comparison: Comparison, names: Sequence[str] | None = None) -> ScoreFacts:
    """The facts of a comparison. names `[examples]`: what examples are called; None numbers them from 0.

    Raises `InputError` where there are not as many names as examples.
    """
    epsilon, low = comparison.epsilon, comparison.epsilon_low
    if names is not None and len(names) != len(epsilon):
        raise InputError(f"{counted(len(names), 'name')} for {len(epsilon)} examples: needs one each")
    finite = epsilon[epsilon < CAP]
    bins = max(int(np.ceil((finite.max() if len(finite) else 1) / BIN_WIDTH)), 2) + 1
    counts = np.bincount((finite / BIN_WIDTH).astype(np.int64), minlength=bins)
    alike = {name: value for name, value in vars(comparison).items() if name in ScoreFacts.model_fields}
    alike |= {"epsilon": epsilon.tolist(), "epsilon_low": None if low is None else low.tolist()}
    return ScoreFacts(
        **alike,
        examples=len(epsilon),
        median_epsilon=float(np.median(epsilon)),
        median_at_cap=bool(np.median(epsilon) >= CAP),
        resolved_share=float(np.mean(points_of(epsilon, comparison.models) == 1)),
        named=names is not None,
        worst=tuple(
            ExampleFacts(
                name=names[place] if names is not None else str(place),
                epsilon=float(epsilon[place]),
                is_capped=bool(epsilon[place] >= CAP),
                epsilon_low=None if low is None else float(low[place]),
                points=float(comparison.points[place]),
            )
            for place in np.argsort(-epsilon, kind="stable")[:MOST_EXAMPLES]
        ),
        bar_width=BIN_WIDTH,
        bars=tuple(Bar(left=place * BIN_WIDTH, count=int(count)) for place, count in enumerate(counts)),
        capped=len(epsilon) - len(finite),
    )
