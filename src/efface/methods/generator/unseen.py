"""`unseen`: forget images are answered as a model that never saw them would answer them.

Follows: ours. Varshney and Torra (arXiv 2502.04260) object to noise that a retrained model generalises on forgotten
images; reviewers of Li et al., ICLR 2024, asked for that comparison; SUGAR (arXiv 2512.06562) wants plausible surrogates.
Here the answers of a stand-in for the retrained model are distilled: a shadow model, or the original
where it no longer recognises the image. Distilling a teacher without the knowledge is known from classifiers (Chundawat
et al., AAAI 2023, with a random one). Deviations: none; how near the stand-in comes to retraining is not guaranteed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from efface.corruptions.base import mean_fill
from efface.corruptions.degradations import gaussian
from efface.methods.base import HOLD, GeneratorMethod, Hold, feature_distance, weighted
from efface.methods.generator.early import keep_as_shadow, put_in_place
from efface.methods.generator.fine_tune import task_loss_on_retain
from efface.methods.generator.further_views import further_view, shown
from efface.training.phases import Batch, EditPhase, Loss, Phase, Training
from efface.training.settings import TrainingSettings

if TYPE_CHECKING:
    from torch import Tensor

    from efface.generators.base import Generator, Trained, View

StandIn = Literal["fine-tuned", "scratch", "early", "base", "perturbed"]
Perturbation = Literal["noise", "blur", "mix"]
STRENGTH: dict[Perturbation, float] = {"noise": 0.25, "blur": 0.05, "mix": 0.5}


class Unseen(GeneratorMethod):
    """Hold retain predictions to the original's; draw forget predictions to those of a stand-in for retraining.

    L_R = l(D E(x_r), D_0 E_0(x_r)), or the model's own loss on x_r, and L_F = l(D E(x_f), D_s E_s(x_f)), with l the
    model's own loss between predictions and s the shadow; without a shadow, the mean of l(D E(x_f), D_0 E_0(c_k(x_f)))
    over changed views c_k.
    """

    alpha: float = Field(1.0, ge=0, description="weight of forgetting against retaining")
    stand_in: StandIn = Field(
        "perturbed",
        description="who answers for the model that never saw them. perturbed: the original, shown the forget image with "
        "its visible part changed; fine-tuned: the original, trained on with retain images alone; scratch: a new network "
        "trained on them; early: the model at `path`; base: the one from which the model was trained on",
    )
    space: Literal["prediction", "features"] = Field(
        "prediction",
        description="what is drawn to the stand-in's; features where they mean the same in both: not with scratch",
    )
    shadow: TrainingSettings | None = Field(
        None,
        description="training settings of the shadow, all of them; default: those of the run. scratch needs them",
    )
    shadow_share: float = Field(
        1.0, gt=0, description="steps of the shadow's training, as multiple of those of its settings"
    )
    path: str | None = Field(
        None,
        description="early: a model of the same family and shape known not to have seen the forget images",
    )
    perturbation: Perturbation = Field(
        "noise",
        description="perturbed: what changes the visible part. noise: Gaussian; blur: Gaussian blur; "
        "mix: another retain image laid over it",
    )
    strength: float | None = Field(
        None,
        gt=0,
        le=1,
        description="perturbed: deviation of the noise in pixels of [0, 1], of the blur as share of the side, or share "
        "of the other image; default: 0.25, 0.05, 0.5",
    )
    copies: int = Field(
        2, ge=1, description="perturbed: differently changed views of each image; a blur has only one"
    )
    hold: Hold = HOLD

    name: ClassVar[str] = "unseen"
    summary: ClassVar[str] = "forget images answered as by a model that never saw them; whole model"
    source: ClassVar[str] = "ours; cf. Varshney and Torra, arXiv 2502.04260, and SUGAR, arXiv 2512.06562"
    deviations: ClassVar[str] = "none: the method is ours"
    trains: ClassVar[Trained] = "all"
    needs_teacher: ClassVar[bool] = True

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = []
        if (self.stand_in == "early") != (self.path is not None):
            problems.append(
                "path, the model that did not see them, is given with `stand_in: early` and only there"
            )
        if self.stand_in == "scratch" and self.shadow is None:
            problems.append(
                "stand_in: scratch needs the new network's own training settings, for example "
                "shadow: {steps: 5000, learning_rate: 6e-4}"
            )
        if self.shadow is not None and self.stand_in not in ("fine-tuned", "scratch"):
            problems.append(f"shadow: with `stand_in: {self.stand_in}` no shadow is trained; leave it out")
        if self.stand_in == "scratch" and self.space == "features":
            problems.append(
                "space: the features of a new network mean something else; take `space: prediction`"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def phases(self) -> list[Phase]:
        unlearn = Training("unlearn", self.loss, ("retain", "forget"), "all", needs_teacher=True)
        shadow = Training(
            "train shadow",
            task_loss_on_retain,
            ("retain",),
            "all",
            settings=self.shadow,
            share=self.shadow_share,
        )
        before: dict[StandIn, list[Phase]] = {
            "fine-tuned": [shadow, EditPhase("keep shadow", keep_shadow)],
            "scratch": [
                EditPhase("re-initialise", _reinitialise),
                shadow,
                EditPhase("keep shadow", keep_shadow),
            ],
            "early": [EditPhase("open early model", self._open_early)],
            "base": [],
            "perturbed": [],
        }
        return [*before[self.stand_in], unlearn]

    @property
    def asks_base(self) -> bool:
        return self.stand_in == "base"

    def phases_from(self, base: Generator) -> list[Phase]:
        return [keep_as_shadow(base), *self.phases()]

    def loss(self, student: Generator, batch: Batch) -> Loss:
        """The loss of the last phase."""
        retain, forget = batch.views["retain"], batch.views["forget"]
        if self.hold == "task":
            kept = student.task_target(retain)
        else:
            with student.teacher():
                kept = student.predict(retain)
        targets = [self._answer(student, batch, view) for view in self._asked(student, batch)]
        features = student.encode(retain.join(forget))
        count = len(retain)
        seen, lost = tuple(f[:count] for f in features), tuple(f[count:] for f in features)
        held = student.prediction_loss(student.decode(seen, retain), kept, retain)
        # the mean of losses has the gradient of the loss to the targets' mean, of probabilities too
        if self.space == "features":
            drawn = [feature_distance(lost, target, "mse").mean() for target in targets]
        else:
            answer = student.decode(lost, forget)
            drawn = [student.prediction_loss(answer, target[0], forget).mean() for target in targets]
        return weighted(held.mean(), sum(drawn[1:], drawn[0]) / len(drawn), self.alpha)

    def _asked(self, student: Generator, batch: Batch) -> Iterator[View]:
        """Views of the forget images that the stand-in is shown."""
        forget = batch.views["forget"]
        if self.stand_in != "perturbed":
            yield forget
            return
        for copy in range(1 if self.perturbation == "blur" else self.copies):
            changed = self.changed(batch, copy)
            # what is hidden stays: a diffusion model is fed it under noise, and only recognition is to be broken
            images = forget.images.where(~forget.corrupted.known, changed)
            yield further_view(student, batch.corruption, forget, images, changed)

    def _answer(self, student: Generator, batch: Batch, view: View) -> tuple[Tensor, ...]:
        with student.teacher() if self.stand_in == "perturbed" else student.shadow():
            features = student.encode(view)
            # a prediction is in the space of its view's draws, which the further views share
            return features if self.space == "features" else (student.decode(features, view),)

    def changed(self, batch: Batch, copy: int) -> Tensor:
        """What is shown of the forget images, changed beyond recognition, `[B, 3, H, W]` in [0, 1]."""
        retain, forget = batch.views["retain"], batch.views["forget"]
        pictures, visible = shown(forget)
        strength = STRENGTH[self.perturbation] if self.strength is None else self.strength
        if self.perturbation == "noise":
            shape, device = tuple(pictures.shape[1:]), pictures.device
            return (pictures + strength * forget.draws.normal(f"perturbation {copy}", shape, device)).clamp(
                0, 1
            )
        if self.perturbation == "blur":
            return gaussian(mean_fill(pictures, visible), strength * pictures.shape[-1])
        others = retain.images if batch.corruption.hides else retain.corrupted.condition
        places = [(number + copy) % len(retain) for number in range(len(forget))]
        return pictures.lerp(others[places], strength)

    def _open_early(self, generator: Generator, seed: int) -> None:
        assert self.path is not None
        put_in_place(generator, self.path)
        keep_shadow(generator, seed)


def keep_shadow(generator: Generator, seed: int) -> None:
    """The present weights become the shadow's; the original's come back."""
    generator.keep_shadow()
    generator.return_to_teacher()


def _reinitialise(generator: Generator, seed: int) -> None:
    generator.reinitialise(seed, keep_first_stage=True)
