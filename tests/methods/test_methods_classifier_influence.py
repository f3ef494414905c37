"""Methods that weigh weights by gradients, and `unsir`: each against values computed another way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from efface.classifiers.classifier import Classifier
from efface.errors import InputError
from efface.images.labelled import LabelledImages
from efface.methods.classifier import woodfisher as woodfisher_module
from efface.methods.classifier.base import ClassifierMethod, unlearn_classifier
from efface.methods.classifier.fisher_forgetting import FisherForgetting
from efface.methods.classifier.importance import batch_importances, expected_fisher, settled_order
from efface.methods.classifier.lf_ssd import LfSsd
from efface.methods.classifier.ssd import TRAIN, Ssd
from efface.methods.classifier.unsir import SAMPLE, Unsir, channel_moments
from efface.methods.classifier.woodfisher import WoodFisher, exact_inverse, published_inverse
from efface.training.classification import Work
from efface.training.losses import cross_entropy
from efface.training.passes import Facts, Pass

CLASSES = 3


def images(count: int, name: str, labels: list[int] | None = None) -> LabelledImages:
    """Made pictures of 4 x 4 px, each class with a brightness of its own."""
    draws = np.random.default_rng(len(name) * 100 + count)
    of = np.arange(count) % CLASSES if labels is None else np.array(labels)
    pixels = np.clip(draws.normal(60 + 60 * of[:, None, None, None], 25, (count, 1, 4, 4)), 0, 255)
    return LabelledImages(
        pixels.astype(np.uint8), of.astype(np.int64), tuple(f"{name}{i}" for i in range(count))
    )


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(5)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, CLASSES),
    ).eval()
    return Classifier(network, classes=("a", "b", "c"), image_size=4, channels=1)


@pytest.fixture
def sets() -> dict[str, LabelledImages]:
    return {"forget": images(5, "forgotten"), "retain": images(12, "kept")}


def facts(sets: dict[str, LabelledImages], seed: int = 0) -> Facts:
    sizes = {name: len(one) for name, one in sets.items()}
    return Facts(sizes, CLASSES, blocks=("0", "1", "5"), seed=seed)


def working(classifier: Classifier, method: ClassifierMethod, sets: dict[str, LabelledImages]) -> Work:
    everything = {**sets, **method.own_sets(sets, facts(sets))}
    return Work(classifier.copy(), everything, facts(sets))


def unlearned(
    classifier: Classifier, method: ClassifierMethod, sets: dict[str, LabelledImages], seed: int = 0
) -> Classifier:
    return unlearn_classifier(classifier, method, sets, facts(sets, seed))[0]


def gradients(
    classifier: Classifier, shown: Tensor, objective: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Gradients by plain `backward`, by name of the weight."""
    classifier = classifier.copy().eval()
    objective(classifier(shown)).backward()
    return {name: weight.grad.clone() for name, weight in classifier.network.named_parameters()}


def each_label_loss(labels: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda logits: nn.functional.cross_entropy(logits, labels)


def test_the_order_of_images_follows_from_their_ids_alone() -> None:
    one = images(9, "kept")
    turned = one.subset(np.arange(9)[::-1])
    assert [one.ids[i] for i in settled_order(one)] == [turned.ids[i] for i in settled_order(turned)]
    assert list(settled_order(one)) != list(range(9))


@pytest.mark.parametrize("power", [1, 2])
def test_importance_is_the_mean_over_batches_of_the_batch_gradients_power(
    classifier: Classifier, sets: dict[str, LabelledImages], power: int
) -> None:
    work = working(classifier, Ssd(), sets)
    with torch.no_grad():
        found = batch_importances(work, "retain", 4, cross_entropy, power)
    order = settled_order(sets["retain"])
    expected = {name: torch.zeros_like(value) for name, value in found.items()}
    for part in (order[:4], order[4:8], order[8:]):
        shown, labels = (
            torch.from_numpy(sets["retain"].pixels[part]),
            torch.from_numpy(sets["retain"].labels[part]),
        )
        for name, value in gradients(classifier, shown, each_label_loss(labels)).items():
            expected[name] += value.abs() ** power / 3
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])


def test_ssd_dampens_by_the_ratio_of_importances_and_only_where_forget_images_lean_more(
    classifier: Classifier, sets: dict[str, LabelledImages]
) -> None:
    sets = {**sets, "forget": images(5, "forgotten", [2] * 5)}
    method = Ssd(alpha=1.5, dampening=0.8, batch_size=4)
    work = working(classifier, method, sets)
    of_all = batch_importances(work, TRAIN, 4, cross_entropy, 2)
    of_forget = batch_importances(work, "forget", 4, cross_entropy, 2)
    after = dict(unlearned(classifier, method, sets).network.named_parameters())
    dampened = kept = 0
    for name, before in classifier.network.named_parameters():
        for old, new, all_, forget in zip(
            *(x.detach().flatten().tolist() for x in (before, after[name], of_all[name], of_forget[name])),
            strict=True,
        ):
            if forget > 1.5 * all_:
                assert new == pytest.approx(old * min(1.0, 0.8 * all_ / forget), rel=1e-5, abs=1e-9)
                dampened += 1
            else:
                assert new == old
                kept += 1
    assert min(dampened, kept) > 5


def test_ssd_never_makes_a_weight_larger(classifier: Classifier, sets: dict[str, LabelledImages]) -> None:
    method = Ssd(alpha=0.01, dampening=1e6, batch_size=4)
    assert unlearned(classifier, method, sets).weights_digest() == classifier.weights_digest()


def test_ssd_with_batches_of_one_image_weighs_by_each_images_gradient(
    classifier: Classifier, sets: dict[str, LabelledImages]
) -> None:
    work = working(classifier, Ssd(), sets)
    found = batch_importances(work, "forget", 1, cross_entropy, 2)
    for name, value in found.items():
        squares = []
        for pixels, label in zip(sets["forget"].pixels, sets["forget"].labels, strict=True):
            loss = each_label_loss(torch.tensor([label]))
            squares.append(gradients(classifier, torch.from_numpy(pixels[None]), loss)[name] ** 2)
        torch.testing.assert_close(value, torch.stack(squares).mean(0))


def test_dampening_depends_neither_on_seed_nor_on_the_order_of_the_sets(
    classifier: Classifier, sets: dict[str, LabelledImages]
) -> None:
    turned = {name: one.subset(np.arange(len(one))[::-1]) for name, one in sets.items()}
    for method in (Ssd(alpha=1.2, batch_size=4), LfSsd(alpha=1.2, batch_size=4)):
        first = unlearned(classifier, method, sets)
        assert first.weights_digest() != classifier.weights_digest()
        assert first.weights_digest() == unlearned(classifier, method, turned, seed=3).weights_digest()


def test_lf_ssd_reads_no_labels(classifier: Classifier, sets: dict[str, LabelledImages]) -> None:
    method = LfSsd(alpha=1.2, batch_size=4)
    unlabelled = {
        name: LabelledImages(one.pixels, np.zeros_like(one.labels), one.ids) for name, one in sets.items()
    }
    first, second = (unlearned(classifier, method, given).weights_digest() for given in (sets, unlabelled))
    assert first == second


def test_lf_ssd_weighs_by_the_absolute_gradient_of_the_squared_norm_of_the_logits(
    classifier: Classifier, sets: dict[str, LabelledImages]
) -> None:
    method = LfSsd(batch_size=64)
    work = working(classifier, method, sets)
    found = batch_importances(work, "forget", 64, method.objective, method.power)
    shown = torch.from_numpy(sets["forget"].pixels)
    expected = gradients(classifier, shown, lambda logits: (logits**2).sum() / 5)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name].abs())


def test_the_fisher_diagonal_is_that_of_each_image_and_each_label_the_model_expects(
    classifier: Classifier, sets: dict[str, LabelledImages]
) -> None:
    work = working(classifier, FisherForgetting(), sets)
    with torch.no_grad():
        found = expected_fisher(work, "retain")
    expected = {name: torch.zeros_like(value) for name, value in found.items()}
    for pixels in sets["retain"].pixels:
        shown = torch.from_numpy(pixels[None])
        probabilities = classifier(shown).softmax(1)[0].tolist()
        for label, probability in enumerate(probabilities):
            for name, value in gradients(classifier, shown, each_label_loss(torch.tensor([label]))).items():
                expected[name] += probability * value**2 / 12
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-7)


def test_fisher_information_can_be_that_of_some_images(
    classifier: Classifier, sets: dict[str, LabelledImages]
) -> None:
    work = working(classifier, FisherForgetting(), sets)
    few = sets["retain"].subset(settled_order(sets["retain"])[:2])
    alone = working(classifier, FisherForgetting(), {**sets, "retain": few})
    torch.testing.assert_close(expected_fisher(work, "retain", 2), expected_fisher(alone, "retain"))


def test_fisher_variance_is_capped_averaged_over_inputs_and_larger_in_head_and_norm() -> None:
    method = FisherForgetting(alpha=0.1, cap=50.0, head_cap=5.0, boost=10.0)
    fisher = torch.tensor([[0.1, 0.0], [1.0, 0.5]])
    inner, head = method.variance(fisher, in_head=False), method.variance(fisher, in_head=True)
    torch.testing.assert_close(inner, torch.tensor([[3.0, 3.0], [0.15, 0.15]]))
    torch.testing.assert_close(head, torch.tensor([[5.0, 5.0], [1.5, 1.5]]))
    torch.testing.assert_close(method.variance(torch.tensor([0.1]), in_head=False), torch.tensor([10.0]))


def test_fisher_noise_has_the_variance_and_clears_wholly_forgotten_classes(
    classifier: Classifier, sets: dict[str, LabelledImages]
) -> None:
    given = {"forget": images(4, "forgotten", [2] * 4), "retain": images(8, "kept", [0, 1] * 4)}
    work = working(classifier, FisherForgetting(), given)
    fisher = expected_fisher(work, "retain")["0.weight"]
    deviation = FisherForgetting(alpha=1e-3).variance(fisher, in_head=False).sqrt()
    noise = []
    for seed in range(20):
        network = unlearned(classifier, FisherForgetting(alpha=1e-3), given, seed).network
        noise.append(
            (network.get_parameter("0.weight") - classifier.network.get_parameter("0.weight")) / deviation
        )
        # drawn around 0 with variance 1e-4 x 10
        assert network.get_parameter("5.weight")[2].abs().max() < 5 * np.sqrt(1e-3)
    drawn = torch.stack(noise).detach()
    assert abs(drawn.mean().item()) < 0.1
    assert drawn.std().item() == pytest.approx(1.0, abs=0.1)
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("damping", [1.0, 0.01])
def test_the_exact_recursion_inverts_the_regularised_fisher_matrix(damping: float) -> None:
    draws = np.random.default_rng(3)
    g, v = draws.normal(size=(7, 5)), draws.normal(size=5)
    matrix = damping * np.eye(5) + g.T @ g / 7
    found = exact_inverse(torch.from_numpy(v), torch.from_numpy(g), 7, damping)
    np.testing.assert_allclose(found.numpy(), np.linalg.solve(matrix, v), rtol=1e-10)


def test_the_published_recursion_is_an_inverse_only_where_gradients_are_alike() -> None:
    draws = np.random.default_rng(4)
    v, alike = draws.normal(size=4), np.tile(draws.normal(size=4), (6, 1))
    # the first image only gives the direction, so that 5 of 6 count
    matrix = np.eye(4) + alike[1:].T @ alike[1:] / 6
    found = published_inverse(torch.from_numpy(v), torch.from_numpy(alike), 6, 1.0)
    np.testing.assert_allclose(found.numpy(), np.linalg.solve(matrix, v), rtol=1e-10)
    several = draws.normal(size=(3, 4))
    k = v - (several[1] @ v) / (3 + several[0] @ several[1]) * several[0]
    o = several[0] * (1 - (several[0] @ several[1]) / (3 + several[0] @ several[1]))
    k = k - (several[2] @ k) / (3 + o @ several[2]) * o
    found = published_inverse(torch.from_numpy(v), torch.from_numpy(several), 3, 1.0)
    np.testing.assert_allclose(found.numpy(), k, rtol=1e-10)


def test_woodfisher_steps_by_the_inverse_fisher_of_single_images(
    classifier: Classifier, sets: dict[str, LabelledImages]
) -> None:
    def flat(name: str) -> np.ndarray:
        rows = []
        for pixels, label in zip(sets[name].pixels, sets[name].labels, strict=True):
            loss = each_label_loss(torch.tensor([label]))
            found = gradients(classifier, torch.from_numpy(pixels[None]), loss)
            rows.append(torch.cat([value.flatten() for value in found.values()]))
        return torch.stack(rows).double().numpy()

    forget, retain = flat("forget"), flat("retain")
    vector = (forget.sum(0) - 5 / 12 * retain.sum(0)) / 17
    matrix = 0.5 * np.eye(len(vector)) + retain.T @ retain / 12
    method = WoodFisher(alpha=0.7, damping=0.5, recursion="exact", batch_size=4)
    after = nn.utils.parameters_to_vector(unlearned(classifier, method, sets).network.parameters())
    before = nn.utils.parameters_to_vector(classifier.network.parameters())
    moved = (after - before).detach().numpy()
    np.testing.assert_allclose(moved, 0.7 * np.linalg.solve(matrix, vector), rtol=2e-3, atol=1e-6)
    assert np.abs(moved).max() > 1e-3


def test_woodfisher_lowers_confidence_in_the_forget_images(
    classifier: Classifier, sets: dict[str, LabelledImages]
) -> None:
    shown, labels = torch.from_numpy(sets["forget"].pixels), torch.from_numpy(sets["forget"].labels)
    before = nn.functional.cross_entropy(classifier(shown), labels)
    for recursion in ("published", "exact"):
        model = unlearned(classifier, WoodFisher(alpha=0.2, recursion=recursion), sets)
        assert nn.functional.cross_entropy(model(shown), labels) > before


def test_an_exact_recursion_beyond_memory_is_refused_before_anything_changes(
    classifier: Classifier, sets: dict[str, LabelledImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(woodfisher_module, "EXACT_NUMBERS", 400)
    with pytest.raises(InputError, match=r"keeps 12 vectors of 95 weights.*images: 4 or fewer"):
        unlearned(classifier, WoodFisher(recursion="exact"), sets)
    unlearned(classifier, WoodFisher(recursion="exact", images=4), sets)


def test_unsir_learns_noise_on_which_the_model_errs(
    classifier: Classifier, sets: dict[str, LabelledImages]
) -> None:
    given = {"forget": images(4, "forgotten", [2] * 4), "retain": sets["retain"]}
    work = working(classifier, Unsir(noise_images=32), given)
    mean, std = channel_moments(work)
    pixels = given["retain"].pixels.astype(np.float64)
    assert mean.item() == pytest.approx(pixels.mean())
    assert std.item() == pytest.approx(pixels.std())
    losses = []
    for steps in (1, 40):
        method = Unsir(noise_images=32, noise_steps=steps, noise_penalty=0.0)
        method.learn_noise(work)
        assert work.memory["noise"].shape == (32, 1, 4, 4)
        assert work.memory["noise labels"].tolist() == [2] * 32
        losses.append(cross_entropy(work.model(work.memory["noise"]), work.memory["noise labels"]).item())
    assert losses[1] > losses[0] + 0.1
    norms = []
    for penalty in (0.0, 10.0):
        Unsir(noise_images=32, noise_penalty=penalty).learn_noise(work)
        norms.append(((work.memory["noise"] - mean) / std).square().flatten(1).sum(1).mean().item())
    assert norms[1] < 0.1 * norms[0]


def test_unsir_shares_its_noise_images_between_the_forgotten_classes(
    classifier: Classifier, sets: dict[str, LabelledImages]
) -> None:
    work = working(
        classifier, Unsir(), {"forget": images(4, "forgotten", [2, 0, 2, 0]), "retain": sets["retain"]}
    )
    Unsir(noise_images=9, noise_steps=1).learn_noise(work)
    assert work.memory["noise labels"].tolist() == [0] * 4 + [2] * 4
    assert work.memory["noise"].shape == (8, 1, 4, 4)


def test_unsir_noise_is_one_step_of_adam_against_its_loss(
    classifier: Classifier, sets: dict[str, LabelledImages]
) -> None:
    given = {"forget": images(4, "forgotten", [1] * 4), "retain": sets["retain"]}
    work = working(classifier, Unsir(), given)
    mean, std = channel_moments(work)
    start = torch.randn((6, 1, 4, 4), generator=work.draws("noise", 1)).requires_grad_()
    loss = -nn.functional.cross_entropy(classifier(mean + std * start), torch.ones(6, dtype=torch.int64))
    loss = loss + 0.1 * start.square().sum((1, 2, 3)).mean()
    (slope,) = torch.autograd.grad(loss, [start])
    Unsir(noise_images=6, noise_steps=1).learn_noise(work)
    # the first step of Adam goes by the sign of the gradient
    expected = mean + std * (start - 0.1 * slope.sign()).detach()
    torch.testing.assert_close(work.memory["noise"], expected, rtol=0, atol=0.05)


def test_unsir_mixes_noise_at_its_share_and_learns_it_as_the_forgotten_class(
    classifier: Classifier, sets: dict[str, LabelledImages]
) -> None:
    work = working(classifier, Unsir(), sets)
    work.memory["noise"] = torch.full((4, 1, 4, 4), 7.0)
    work.memory["noise labels"] = torch.full((4,), 1)
    batch = work.batch(SAMPLE, np.arange(8))
    found = Unsir(noise_share=0.2).impair_loss(work, {SAMPLE: batch})
    shown = torch.cat([batch.images.float(), torch.full((2, 1, 4, 4), 7.0)])
    labels = torch.cat([batch.labels, torch.tensor([1, 1])])
    torch.testing.assert_close(found, nn.functional.cross_entropy(work.model(shown), labels))


def test_unsir_impairs_then_repairs_with_a_sample_of_each_retain_class(
    sets: dict[str, LabelledImages],
) -> None:
    given = {"forget": images(4, "forgotten", [2] * 4), "retain": images(20, "kept", [0] * 15 + [1] * 5)}
    own = Unsir(retain_images=6).own_sets(given, facts(given))[SAMPLE]
    assert np.bincount(own.labels).tolist() == [6, 5]
    assert set(own.ids) < set(given["retain"].ids)
    assert set(own.ids) != set(Unsir(retain_images=6).own_sets(given, facts(given, seed=1))[SAMPLE].ids)
    _, impair, repair = Unsir().passes(facts(given))
    assert isinstance(impair, Pass)
    assert isinstance(repair, Pass)
    assert (impair.streams, repair.streams) == ({SAMPLE: 164}, {SAMPLE: 256})
    for one, rate in ((impair, 0.02), (repair, 0.01)):
        assert (one.optimiser.kind, one.optimiser.learning_rate, one.optimiser.weight_decay) == (
            "adam",
            rate,
            0.0,
        )
    assert impair.optimiser.name != repair.optimiser.name


def test_unsir_forgets_a_class_and_keeps_the_others(classifier: Classifier) -> None:
    given = {"forget": images(30, "forgotten", [2] * 30), "retain": images(60, "kept", [0, 1] * 30)}
    train = given["retain"].join(given["forget"])
    shown, labels = torch.from_numpy(train.pixels), torch.from_numpy(train.labels)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=0.03)
    for _ in range(80):
        optimizer.zero_grad()
        nn.functional.cross_entropy(classifier(shown), labels).backward()
        optimizer.step()

    def accuracy(model: Classifier, name: str) -> float:
        right = model(torch.from_numpy(given[name].pixels)).argmax(1) == torch.from_numpy(given[name].labels)
        return right.float().mean().item()

    assert min(accuracy(classifier, name) for name in given) > 0.85
    method = Unsir(batch_size=16, noise_images=16, impair_epochs=2, repair_epochs=4)
    model = unlearned(classifier, method, given)
    assert accuracy(model, "forget") < 0.3
    assert accuracy(model, "retain") > 0.85
