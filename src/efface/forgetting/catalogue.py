"""The table of what `forgetting` measures: names, directions, sources. Nothing here computes anything.

On forget examples the goal is the retrained model's value, so a direction alone ("down") is only given where
the statistic is itself a comparison with retrained models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from efface.errors import InputError
from efface.settings import unknown_name

Direction = Literal["up", "down", "match_retrained"]


@dataclass(frozen=True)
class StatisticInfo:
    """What is known of a statistic before anything is measured.

    `function` is its place, `module.function` within `efface.forgetting`. `direction` is the better one; of an attack it
    is that of its result on forget examples. `reads` says what it is computed from; `range` its unit and ends.
    """

    name: str
    title: str
    function: str
    direction: Direction
    range: str
    reads: str
    source: str
    summary: str


def statistic(name: str) -> StatisticInfo:
    """The entry of `name`; `InputError` names the valid ones otherwise."""
    if name not in STATISTICS:
        raise InputError(unknown_name("statistic", name, STATISTICS))
    return STATISTICS[name]


CONFIDENCES = "confidences [models, examples] of unlearned and retrained models"
SHADOWS = "confidences of the attacked models and of shadow models"

STATISTICS: dict[str, StatisticInfo] = {
    info.name: info
    for info in (
        StatisticInfo(
            "official_score",
            "Forgetting score F, official",
            "official.official_score",
            "up",
            "0 to 1; retrained against retrained gives about 0.19",
            CONFIDENCES,
            "arXiv:2406.09073",
            "The competition's score: how hard it is to tell unlearned from retrained models, example by example.",
        ),
        StatisticInfo(
            "robust_score",
            "Forgetting score, robust",
            "robust.robust_score",
            "up",
            "0 to 1, above 1 by noise only; retrained against retrained gives 1 on average",
            CONFIDENCES,
            "arXiv:2406.09073, with cross-fitted thresholds",
            "The same question with thresholds chosen on half of the models and scored on the other.",
        ),
        StatisticInfo(
            "kolmogorov_smirnov",
            "Kolmogorov-Smirnov test",
            "distributions.kolmogorov_smirnov",
            "down",
            "0 to 1, with adjusted p values",
            CONFIDENCES,
            "Benjamini and Hochberg (1995); used in arXiv:2406.09073",
            "Share of examples whose two distributions differ, at a false discovery rate of 5 %.",
        ),
        StatisticInfo(
            "klom",
            "KL of margins",
            "distributions.klom",
            "down",
            "nats, from 0 up",
            "margins [models, examples] of unlearned and retrained models",
            "arXiv:2410.23232",
            "How far the binned margins of unlearned models are from those of retrained ones.",
        ),
        StatisticInfo(
            "energy_distance",
            "Energy distance",
            "distributions.energy_distance",
            "down",
            "unit of the statistic, from 0 up",
            CONFIDENCES,
            "Szekely and Rizzo (2013)",
            "Distance of the two distributions without bins or tests.",
        ),
        StatisticInfo(
            "lira",
            "LiRA",
            "likelihood_attacks.lira",
            "match_retrained",
            "log likelihood ratio",
            SHADOWS,
            "arXiv:2112.03570",
            "Membership by the likelihood under models with and without the example.",
        ),
        StatisticInfo(
            "u_lira",
            "U-LiRA",
            "likelihood_attacks.u_lira",
            "match_retrained",
            "0 to 1; 0.5 is perfect unlearning",
            SHADOWS,
            "arXiv:2403.01218",
            "Was the example trained on and unlearned, or never seen: with shadow models of both kinds.",
        ),
        StatisticInfo(
            "rmia",
            "RMIA",
            "likelihood_attacks.rmia",
            "match_retrained",
            "0 to 1",
            "probabilities of the true class under the attacked and reference models, and of a population",
            "arXiv:2312.03262",
            "Membership by the share of population examples that the example beats; few reference models suffice.",
        ),
        StatisticInfo(
            "population_attack",
            "Population attack",
            "likelihood_attacks.population_attack",
            "match_retrained",
            "0 to 1; 0.5 on average if forgotten",
            "one statistic of one model on forget and never-seen examples",
            "arXiv:2111.09679",
            "Share of never-seen examples that the model is less sure of.",
        ),
        StatisticInfo(
            "modified_entropy",
            "Modified entropy",
            "membership.modified_entropy",
            "match_retrained",
            "from 0 up",
            "probabilities and labels of one model",
            "arXiv:2003.10595",
            "Entropy that knows the true class: small for sure and right answers.",
        ),
        StatisticInfo(
            "svc_attack",
            "SVC attack (MIA efficacy)",
            "membership.svc_attack",
            "match_retrained",
            "0 to 1",
            "probabilities and labels of one model on retain, test and forget examples",
            "arXiv:2310.12508; arXiv:2304.04934",
            "Share of forget examples that a trained classifier takes for never seen.",
        ),
        StatisticInfo(
            "tug_of_war",
            "Tug of war",
            "outputs.tug_of_war",
            "up",
            "0 to 1",
            "accuracies on forget, retain and test examples, unlearned and retrained",
            "arXiv:2406.01257",
            "Product of how near the three accuracies are to the retrained model's.",
        ),
        StatisticInfo(
            "activation_distance",
            "Activation distance",
            "outputs.activation_distance",
            "down",
            "0 to 1.414",
            "probabilities of both models on the same examples",
            "arXiv:2012.13431; arXiv:2205.08096",
            "Mean distance of the unlearned model's probabilities from the retrained model's.",
        ),
        StatisticInfo(
            "zero_retrain_forgetting",
            "ZRF",
            "outputs.zero_retrain_forgetting",
            "match_retrained",
            "0 to 1",
            "probabilities of the unlearned and of an untrained model on forget examples",
            "arXiv:2205.08096",
            "How near the answers on forget examples are to those of a model that was never trained.",
        ),
        StatisticInfo(
            "prediction_agreement",
            "Prediction agreement",
            "outputs.prediction_agreement",
            "up",
            "0 to 1",
            "answers of both models on the same examples",
            "Milani Fard et al. (2016)",
            "Share of examples on which the unlearned and the retrained model give one class.",
        ),
    )
}
