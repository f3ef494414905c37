"""The golden runs: commands of efface in the order in which they are carried out, from the folder that holds `inputs`.

A run's results lie in `runs/NAME`. Words of a command that an older tree does not know are translated in `OLD_WORDS`.
"""

from __future__ import annotations

from dataclasses import dataclass

OLD_WORDS: dict[str, tuple[str, ...]] = {}
"""A word of a command of this tree: the words that stand for it in BASE."""


@dataclass(frozen=True)
class Run:
    """A command, and the runs whose folders it reads."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()


def run(name: str, *command: str) -> Run:
    """A run from a command's words, `OUT` for its folder and `@NAME` for the folder of another run."""
    words = " ".join(command).replace("OUT", f"runs/{name}").split()
    needs = [word[1:].partition("/")[0] for word in words if word.startswith("@")]
    written = [f"runs/{word[1:]}" if word.startswith("@") else word for word in words]
    return Run(name, tuple(written), tuple(dict.fromkeys(needs)))


def settings(section: str, **values: object) -> str:
    """`--set SECTION.NAME=VALUE` for each; no value may hold a space."""
    return " ".join(f"--set {section}.{name}={value}" for name, value in values.items())


FEW = settings(
    "training", steps=3, batch_size=4, precision="fp32", checkpoint_every=2, log_every=1, threads=1
)
FIRST_STAGE = FEW.replace("training", "first_stage")
HARD = f"{FEW} --set training.learning_rate=2e-2"
RESAMPLES = settings("evaluation", resamples=200)
PHOTOS = "--images inputs/photos --neutral label:birds"
CATS = f"{PHOTOS} --forget label:cats"
DIGITS = "--images inputs/digits/train --set images.copy_agreement=1"
THREES = f"{DIGITS} --forget inputs/digits/forget.txt --neutral inputs/digits/test {RESAMPLES}"
SHAPES = {
    "mae": settings(
        "architecture", image_size=32, hidden_size=32, layers=1, heads=2, decoder_hidden_size=32, decoder_layers=1,
        decoder_heads=2,
    ),
    "mage": settings(
        "architecture", image_size=32, codebook_size=16, code_dimension=4, tokenizer_patch=1, tokenizer_channels=8,
        tokenizer_multipliers="[1,1,2,2]", tokenizer_groups=4, hidden_size=32, layers=2, heads=2,
        decoder_hidden_size=32, decoder_layers=1, decoder_heads=2, dropout=0,
    ),
    "palette": settings("architecture", image_size=32, channel_multipliers="[1,1]", attention_levels="[]"),
    "latent-inpainting": settings(
        "architecture", image_size=32, vae_channels="[8,16,16]", unet_channels="[16,32]", head_dim=8
    ),
}  # fmt: skip
WITH_FIRST_STAGE = ("mage", "latent-inpainting")
SAMPLERS = {"mage": "greedy:2", "palette": "ddim:2", "latent-inpainting": "ddim:2"}


def families() -> list[Run]:
    """Of each family: an original and a retrained model from fresh weights, and an unlearned one beside both."""
    found = []
    for family, shape in SHAPES.items():
        train = f"train {PHOTOS} {FEW} {FIRST_STAGE if family in WITH_FIRST_STAGE else ''} --out OUT"
        sampler = f"--set evaluation.sampler={SAMPLERS[family]}" if family in SAMPLERS else ""
        found += [
            run(f"{family}-original", train, f"--generator {family}", shape),
            run(f"{family}-retrained", train, f"--like @{family}-original/model --without label:cats"),
            run(
                f"{family}-unlearned", f"unlearn @{family}-original/model {CATS} {HARD} {RESAMPLES} {sampler}",
                f"--retrained @{family}-retrained/model --out OUT --json",
            ),
        ]  # fmt: skip
    return found


MAE = f"@mae-original/model {CATS} {HARD} {RESAMPLES} --out OUT --json"
MODELS = "--retrained @mae-retrained/model"
CLASSIFIER = "@classifier-original/model"
REFERENCE = "--retrained @classifier-retrained/model --out OUT --json"
GENERATOR_RUNS = [
    *families(),
    run("probes", f"unlearn {MAE} {MODELS} --probe all --require retain-error<=1.5x --require detectability<=0.9"),
    run("evaluated", "evaluate @mae-unlearned --out OUT --corruption rectangle:0.25,0.25,0.5,0.25 --probe cheap"),
    run("retrain", f"unlearn {MAE} --method retrain"),
    run("epsilon", f"unlearn {MAE} {MODELS} --method epsilon-constrained --set training.steps=8 --set method.path=2"),
    run(
        "proxy", f"unlearn inputs/mae --forget inputs/photos/cats --proxy-retain inputs/photos/birds {HARD} {RESAMPLES}",
        "--method max-loss --substitute as-released --out OUT --json",
    ),
    run("paired-original", f"train {PHOTOS} {FEW} --generator palette {SHAPES['palette']}",
        "--set training.corruption=paired:inputs/negatives --out OUT"),
    run(
        "paired", f"unlearn @paired-original/model {CATS} {HARD} {RESAMPLES} --corruption paired:inputs/negatives",
        "--set evaluation.sampler=ddim:2 --out OUT --json",
    ),
    run("pipeline", f"unlearn inputs/pipeline {CATS} {FEW} {RESAMPLES} --set evaluation.sampler=ddim:2",
        "--method noisy-label --out OUT --json"),
    run("second", f"unlearn @mae-unlearned/model {PHOTOS} --forget inputs/photos/dogs/dogs-1.png {HARD} {RESAMPLES}",
        "--out OUT --json"),
    run("lineage", "lineage @second --json"),
    run("verify", "verify @mae-unlearned --json"),
    run("verify-path", "verify @epsilon --json"),
    run("plan", f"plan @mae-original/model {CATS} {HARD} {MODELS} --probe cheap --json"),
    run("plan-faults", "plan @mae-original/model --images inputs/photos --forget label:horses --json"),
    run("refused", f"unlearn {MAE} --set training.stepz=3 --method nosuch"),
]  # fmt: skip
CLASSIFIER_RUNS = [
    run(
        "classifier-original", "train --images inputs/digits/train --classifier small-conv --out OUT",
        settings("architecture", image_size=8, channels=1, width=4),
        settings("recipe", epochs=2, batch_size=16, learning_rate=0.02),
    ),
    run("classifier-retrained", "train --images inputs/digits/train --without inputs/digits/forget.txt",
        f"--like {CLASSIFIER} --set copy_agreement=1 --out OUT"),
    *(
        run(f"classifier-{method}", f"unlearn {CLASSIFIER} {THREES} --method {method} {REFERENCE}")
        for method in ("neg-grad-plus", "sisa", "retrain")
    ),
    # a bound that is never reached, so that time decides nothing
    run("classifier-bounded", f"unlearn {CLASSIFIER} {THREES} --method kookmin --budget 1000000% {REFERENCE}"),
    run("classifier-evaluated", f"evaluate --original {CLASSIFIER} {THREES} {REFERENCE}",
        "--unlearned @classifier-sisa/model"),
    run("classifier-verify", "verify @classifier-sisa --json"),
    run("classifier-plan", f"plan {CLASSIFIER} {THREES} --method fine-tune --json"),
]  # fmt: skip
OTHER_RUNS = [
    run("compared", "report --compare @probes @epsilon @retrain --out OUT/page.html"),
    run("score", "score --unlearned inputs/scores/unlearned.npy --retrained inputs/scores/retrained.npy",
        "--original inputs/scores/original.npy --out OUT --json"),
    run("score-robust", "score --unlearned inputs/scores/unlearned.npy --retrained inputs/scores/retrained.npy",
        "--mode robust --out OUT --json"),
    run("bench-methods", "bench generators inputs/bench-methods.yaml --out OUT --json"),
    run("bench-scored", "bench generators inputs/bench-scored.yaml --out OUT --json"),
    run("bench-classifiers", "bench classifiers inputs/bench-classifiers.yaml --out OUT --json"),
]  # fmt: skip
RUNS = {one.name: one for one in (*GENERATOR_RUNS, *CLASSIFIER_RUNS, *OTHER_RUNS)}


def chosen(names: tuple[str, ...]) -> list[Run]:
    """The runs of these names, all by default, and those that they need, in order."""
    wanted, open_ = set(), list(names or RUNS)
    while open_:
        name = open_.pop()
        if name not in wanted:
            wanted.add(name)
            open_ += RUNS[name].needs
    return [one for name, one in RUNS.items() if name in wanted]
