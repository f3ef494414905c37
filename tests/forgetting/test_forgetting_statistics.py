"""The other statistics against scipy, scikit-learn, definitions written out, and values worked by hand."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from efface.errors import InputError
from efface.forgetting.confidence import logit_scaled_confidence, margin
from efface.forgetting.declared import MODULES, statistics
from efface.forgetting.distributions import energy_distance, klom, kolmogorov_smirnov
from efface.forgetting.likelihood_attacks import attack_quality, lira, population_attack, rmia, u_lira
from efface.forgetting.membership import entropy, modified_entropy, svc_attack
from efface.forgetting.outputs import (
    activation_distance,
    prediction_agreement,
    tug_of_war,
    zero_retrain_forgetting,
)

RANDOM = np.random.default_rng(0)
U, R = RANDOM.normal(0.5, 1, (30, 6)), RANDOM.normal(0, 1, (40, 6))


def test_confidence_is_the_log_odds_of_the_true_class() -> None:
    logits = np.array([[[2.0, 0.0, 1.0], [0.0, 5.0, 0.0]]])
    before = logits.copy()
    found = logit_scaled_confidence(logits, np.array([0, 2]))
    p = np.exp(2) / (np.exp(2) + 1 + np.e)
    assert found[0, 0] == pytest.approx(np.log(p / (1 - p)))
    assert found == pytest.approx(margin(logits, np.array([0, 2])))
    assert (logits == before).all()


def test_confidence_saturates_and_the_margin_does_not() -> None:
    logits = np.array([[900.0, 0.0], [0.0, 900.0]])
    assert logit_scaled_confidence(logits, np.array([0, 0])) == pytest.approx([103.616, -103.616], abs=1e-2)
    assert margin(logits, np.array([0, 0])).tolist() == [900, -900]


def test_labels_outside_of_the_classes_are_refused() -> None:
    with pytest.raises(InputError, match="from 0 to 1"):
        margin(np.zeros((2, 2)), np.array([0, 2]))


def test_kolmogorov_smirnov_is_scipys_with_benjamini_and_hochberg() -> None:
    found = kolmogorov_smirnov(U, R)
    p = [stats.ks_2samp(U[:, i], R[:, i]).pvalue for i in range(6)]
    assert found.p_value == pytest.approx(p)
    # the procedure by hand: smallest, over larger ones, of p m / rank
    ranked = np.sort(p) * 6 / np.arange(1, 7)
    by_hand = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1)
    assert np.sort(found.adjusted) == pytest.approx(by_hand)
    assert found.rejected == np.mean(found.adjusted <= 0.05)


def test_few_examples_of_one_law_are_called_different() -> None:
    random = np.random.default_rng(1)
    assert kolmogorov_smirnov(random.normal(size=(64, 300)), random.normal(size=(64, 300))).rejected <= 0.01
    assert kolmogorov_smirnov(random.normal(size=(64, 300)), random.normal(3, 1, (64, 300))).rejected == 1


def test_klom_worked_by_hand() -> None:
    u, r = np.array([[0.0], [0.1], [1.0], [1.0]]), np.array([[0.0], [1.0], [0.9], [0.8]])
    # two bins from 0 to 1, which itself is in none: unlearned 2 and 0 models, retrained 1 and 2
    assert klom(u, r, bins=2)[0] == pytest.approx(np.log(3))
    # unlearned 1 and 2 of 3, retrained all in the first: the floor in the second, then shares that sum to 1
    expected = 1 / 3 * np.log(1 / 3) + 2 / 3 * np.log(2 / 3 / 1e-5) + np.log(1 + 1e-5)
    high = np.array([[0.1], [0.8], [0.9], [1.0]])
    assert klom(high, np.array([[0.0], [0.1], [0.2], [0.3]]), bins=2)[0] == pytest.approx(expected)
    # retrained all at the largest margin: none is left in a bin, and total separation counts for nothing
    assert klom(np.zeros((3, 1)), np.ones((3, 1)))[0] == 0
    with pytest.raises(InputError, match="not defined for 1 of 1 examples"):
        klom(np.ones((3, 1)), np.zeros((3, 1)))
    assert klom(np.ones((3, 1)), np.ones((3, 1)))[0] == 0
    assert klom(np.full((3, 1), 500.0), np.full((3, 1), 100.0))[0] == 0


def test_energy_distance_is_that_of_its_definition_and_of_scipy() -> None:
    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.abs(a[:, None] - b[None, :]).mean())

    found = energy_distance(U, R)
    for i in range(6):
        u, r = U[:, i], R[:, i]
        assert found[i] == pytest.approx(2 * mean(u, r) - mean(u, u) - mean(r, r))
        assert found[i] == pytest.approx(stats.energy_distance(u, r) ** 2)


def test_attack_quality_is_scikit_learns_and_keeps_its_false_positives() -> None:
    members, others = np.round(RANDOM.normal(1, 1, 200), 1), np.round(RANDOM.normal(0, 1, 300), 1)
    found = attack_quality(members, others)
    truth = np.repeat([1, 0], [200, 300])
    assert found.auc == pytest.approx(roc_auc_score(truth, np.concatenate([members, others])))
    # at 1 %: three of 300 may be false, so the bound is the fourth largest of the others
    assert found.tpr[1] == np.mean(members > np.sort(others)[-4])


def test_lira_is_the_ratio_of_two_normal_laws() -> None:
    inside, outside = np.array([[1.0], [3.0]]), np.array([[0.0], [0.2]])
    found = lira(np.array([[1.5]]), inside, outside)[0, 0]
    sd_in, sd_out = np.sqrt(2), np.sqrt(0.02)
    by_hand = -((1.5 - 2) ** 2) / (2 * 2) - np.log(sd_in) + (1.5 - 0.1) ** 2 / (2 * 0.02) + np.log(sd_out)
    assert found == pytest.approx(by_hand)
    offline = lira(np.array([[0.1]]), None, outside)
    assert offline[0, 0] == pytest.approx(np.log(0.5))


def test_lira_tells_members_apart_and_shares_its_spread() -> None:
    inside, outside = RANDOM.normal(2, 1, (16, 200)), RANDOM.normal(0, 1, (16, 200))
    member, other = RANDOM.normal(2, 1, (1, 200)), RANDOM.normal(0, 1, (1, 200))
    for shared in (False, True):
        scores = [lira(side, inside, outside, shared_spread=shared)[0] for side in (member, other)]
        assert attack_quality(*scores).auc > 0.85


def test_u_lira_is_a_coin_where_unlearned_models_are_like_those_that_never_saw() -> None:
    shadow = RANDOM.normal(size=(8, 5))
    assert u_lira(RANDOM.normal(size=(3, 5)), shadow, shadow) == pytest.approx(np.full((3, 5), 0.5))
    known = u_lira(np.array([[3.0]]), np.array([[3.0], [3.2]]), np.array([[0.0], [0.2]]))
    assert known[0, 0] == pytest.approx(1.0)


def test_rmia_worked_by_hand() -> None:
    # x: .9 against .65 * .5 + .35 = .675, ratio 1.33; z likewise: .5 / .675 = .74, .9 / .61 = 1.48, .2 / .61 = .33
    given = [0.9], [[0.4], [0.6]], [0.5, 0.9, 0.2], [[0.5, 0.4, 0.4]]
    assert rmia(*given, a=0.3)[0] == pytest.approx(2 / 3)
    assert rmia(*given, a=0.3, gamma=2)[0] == pytest.approx(1 / 3)
    # an example as likely as one of the population does not beat it
    assert rmia([0.5], [[0.5]], [0.5], [[0.5]])[0] == 0
    with pytest.raises(InputError, match="from 0 to 1"):
        rmia([1.2], [[0.4]], [0.5], [[0.5]])
    with pytest.raises(
        InputError, match="population: every reference model gives example 1 the probability 0"
    ):
        rmia([0.9], [[0.4]], [0.5, 0.5], [[0.5, 0.0]], a=1)


def test_rmia_of_coarse_probabilities_ties_as_the_published_sum_does() -> None:
    random = np.random.default_rng(3)
    x, x_out, z, z_out = (np.round(random.beta(3, 1, shape), 1) for shape in (50, (50, 9), 70, (70, 9)))
    for a in (0.0, 0.4, 0.7):
        ratio_x, ratio_z = (
            side / ((1 + a) / 2 * np.mean(-np.sort(-out, axis=1), axis=1) + (1 - a) / 2)
            for side, out in ((x, x_out), (z, z_out))
        )
        expected = np.average(ratio_x[:, np.newaxis] / ratio_z > 1.0, axis=1)
        assert rmia(x, x_out.T, z, z_out.T, a=a).tolist() == expected.tolist()


def test_rmia_of_examples_like_the_population_is_one_half_on_average() -> None:
    random = np.random.default_rng(2)
    x, z = (random.beta(4, 2, (3, 400)) for _ in range(2))
    for a in (0.0, 0.3, 1.0):
        assert rmia(x[0], x[1:], z[0], z[1:], a=a).mean() == pytest.approx(0.5, abs=0.04)


def test_population_attack_is_the_rank_among_never_seen_examples() -> None:
    assert population_attack([0.0, 2.0, 2.5, 9.0], [1.0, 2.0, 3.0, 4.0]).tolist() == [0, 0.375, 0.5, 1]


def test_modified_entropy_worked_by_hand() -> None:
    p, y = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]), np.array([0, 2])
    first = -0.3 * np.log(0.7) - 0.2 * np.log(0.8) - 0.1 * np.log(0.9)
    second = -0.9 * np.log(0.1) - 0.7 * np.log(0.3) - 0.2 * np.log(0.8)
    assert modified_entropy(p, y) == pytest.approx([first, second])
    assert modified_entropy(np.eye(2), np.array([0, 0]))[0] == 0
    assert modified_entropy(np.eye(2), np.array([0, 0]))[1] > 60
    assert entropy(p)[0] == pytest.approx(stats.entropy(p[0]))


def answers(sure: float, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of two classes, the true one near `sure`, and the true classes."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    right = np.clip(random.normal(sure, 0.02, count), 0.01, 0.99)
    p = np.where(np.arange(2) == labels[:, None], right[:, None], 1 - right[:, None])
    return p, labels


@pytest.mark.parametrize("feature", ["confidence", "entropy", "modified_entropy", "probabilities"])
def test_svc_attack_knows_members_by_each_feature(feature: str) -> None:
    members, others = answers(0.95, 120, 0), answers(0.6, 80, 1)
    assert svc_attack(members, others, answers(0.95, 50, 2), feature=feature) < 0.1
    assert svc_attack(members, others, answers(0.6, 50, 3), feature=feature) > 0.9


def test_svc_attack_is_that_of_scikit_learn() -> None:
    members, others, forgotten = answers(0.8, 60, 0), answers(0.75, 60, 1), answers(0.78, 40, 2)
    column = [p[np.arange(len(y)), y][:, None] for p, y in (members, others, forgotten)]
    machine = SVC(C=3, kernel="rbf", gamma="auto").fit(np.concatenate(column[:2]), [1] * 60 + [0] * 60)
    assert svc_attack(members, others, forgotten) == np.mean(machine.predict(column[2]) == 0)


def test_tug_of_war_worked_by_hand() -> None:
    assert tug_of_war((0.9, 0.8, 0.7), (0.8, 1.0, 0.75)) == pytest.approx(0.9 * 0.8 * 0.95)
    with pytest.raises(InputError, match="from 0 to 1"):
        tug_of_war((90, 80, 70), (0.8, 1, 0.75))


def test_activation_distance_worked_by_hand() -> None:
    assert activation_distance([[1, 0], [0.5, 0.5]], [[0, 1], [0.5, 0.5]]) == pytest.approx([np.sqrt(2), 0])


def test_zrf_is_one_minus_the_jensen_shannon_divergence_of_scipy() -> None:
    from scipy.spatial.distance import jensenshannon

    p, q = RANDOM.dirichlet(np.ones(4), 50), RANDOM.dirichlet(np.ones(4), 50)
    assert zero_retrain_forgetting(p, q) == pytest.approx(
        1 - np.mean(jensenshannon(p, q, base=2, axis=1) ** 2)
    )
    assert zero_retrain_forgetting(p, p) == pytest.approx(1)
    assert zero_retrain_forgetting(np.eye(2), np.eye(2)[::-1]) == pytest.approx(0)


def test_published_zrf_is_that_of_torchs_kl_div() -> None:
    torch = pytest.importorskip("torch")
    p, q = (torch.tensor(RANDOM.dirichlet(np.ones(4), 50)) for _ in range(2))
    kl = torch.nn.functional.kl_div
    with pytest.warns(UserWarning, match="batchmean"):
        reference = 1 - (0.5 * kl(p.log(), (p + q) / 2) + 0.5 * kl(q.log(), (p + q) / 2)).item()
    found = zero_retrain_forgetting(p.numpy(), q.numpy(), as_published=True)
    assert found == pytest.approx(reference)
    assert found > zero_retrain_forgetting(p.numpy(), q.numpy())


def test_prediction_agreement_counts_equal_answers() -> None:
    assert prediction_agreement([[2, 1], [0, 1], [5, 5]], [[1, 0], [3, 1], [9, 0]]).tolist() == [1, 0, 1]


def test_everything_in_the_table_is_there_and_names_its_source() -> None:
    for name, info in statistics().items():
        module, function = info.function.split(".")
        found = getattr(importlib.import_module(f"efface.forgetting.{module}"), function)
        assert info.name == name
        assert info.summary
        assert info.direction in ("up", "down", "match_retrained")
        sources = [word.strip(";,") for word in info.source.split() if word.startswith("arXiv")]
        text = (found.__doc__ or "") + (sys.modules[found.__module__].__doc__ or "")
        assert all(source in text for source in sources)


def test_the_package_imports_no_torch_and_knows_no_model() -> None:
    modules = {*MODULES, "comparison"}
    code = (
        f"import sys, {', '.join('efface.forgetting.' + name for name in modules)}; "
        "own = {name.split('.')[1] for name in sys.modules if name.startswith('efface.')}; "
        "ground = {'errors', 'settings', 'randomness', 'documents', 'arrays', 'wording'}; "
        "sys.exit('torch' in sys.modules or not own <= ground | {'forgetting', 'metrics'})"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
