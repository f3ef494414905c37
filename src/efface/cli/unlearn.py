"""`efface unlearn`"""

from __future__ import annotations

from pydantic import JsonValue

import efface.cli.options as o

SETTINGS: dict[str, str | o.Setting] = {
    "model": o.Setting("model.path", is_argument=True),
    "forget": "images.forget",
    "images": "images.images",
    "retain": "images.retain",
    "proxy_retain": "images.proxy_retain",
    "neutral": "images.neutral",
    "retrained": "retrained",
    "yardstick": "yardstick",
    "base": o.Setting("base", flag="--from"),
    "method": o.Setting("method.name", o.METHOD),
    "preset": "preset",
    "corruption": "corruption",
    "budget": "budget",
    "earlier": "earlier",
    "ledger": "ledger",
    "erased": "erased",
    "seed": "seed",
    "duplicates": "images.duplicates",
    "skip_unreadable": "images.skip_unreadable",
    "margin": "evaluation.margin",
    "ruin": "evaluation.ruin",
    "extractor": "evaluation.extractor",
    "probe": "probes",
    "require": "require",
    "substitute": "substitute",
    "device": "device",
}
"""What `unlearn` and `plan` take alike."""


@o.configured(
    "unlearn",
    **SETTINGS,
    keep_working_files="keep_working_files",
    exact="exact",
    with_pictures="with_pictures",
)
def unlearn(values: dict[str, JsonValue], out: o.Out = None, json_: o.Json = False) -> None:
    """Make a model forget chosen images.

    Leaves RUN/model, results.json, verdict.json, record.json, report.html and log.jsonl; probes.json and
    requirements.json if asked for. Exit code 6 if a requirement is not met or cannot be measured, or the model is ruined.

    Two ways to say which images: --forget and --retain as folders of their own, or --images with all
    that the model was trained on and --forget choosing within it. Of a classifier, folders or a manifest
    also name the class of each image.
    """
    from efface.cli.outcome import refuse_unmet, tell_run
    from efface.errors import InputError
    from efface.jobs.kinds import read_config
    from efface.progress import Progress

    if out is None:
        raise InputError("give the run folder with --out RUN")
    config = read_config("unlearn", values)
    from efface.jobs.run import carry_out

    result = carry_out(config, out, Progress.on_terminal())
    tell_run(result, json_)
    refuse_unmet(result)
