"""What the record says was asked and done, as terms and their values in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from efface.corruptions import CORRUPTIONS
from efface.generators.registry import FAMILIES
from efface.reports.run_files import RunFiles
from efface.wording import counted, duration, moment, name_of, setting

SHORT = 16
PARTS = {
    "encoder": "the encoder only; the decoder's weights are those of the original model",
    "all": "the whole model: encoder and decoder",
}
ELSEWHERE = ("name", "source", "deviations", "settings", "trains")
SAID = ("steps", "precision", "seconds_per_step", "changed_parameters", "budget", "processes")


@dataclass(frozen=True)
class Fact:
    """A term and what is to be said under it, a line each."""

    term: str
    lines: list[str]


@dataclass(frozen=True)
class Digest:
    """A file or model and its full sha256."""

    what: str
    full: str

    @property
    def short(self) -> str:
        return self.full[:SHORT] + "…"


def asked(files: RunFiles) -> list[Fact]:
    """The request, the sets, duplicates and what was left out."""
    request = files.section("request")
    facts = [
        Fact("Request", [setting(request["id"]) if request.get("id") else "no number stated"]),
        Fact("Received", [moment(request.get("received"))]),
        Fact("Made under", [request.get("regime") or "not stated"]),
        Fact("Reason", [request.get("reason") or "not stated"]),
    ]
    facts = facts if files.record.get("request") is not None else []
    facts.append(Fact("Images", _sets(files)))
    if files.record.get("duplicates") is not None:
        facts.append(Fact("Copies among the retain images", [_duplicates(files.section("duplicates"))]))
    if files.record.get("skipped") is not None:
        facts.append(Fact("Left out", [_skipped(files.section("skipped"))]))
    notes = files.record.get("notes") or []
    return [*facts, Fact("Notes", list(notes))] if notes else facts


def done(files: RunFiles) -> list[Fact]:
    """How it was done: method, training, time, seeds."""
    record, training, seeds = files.record, files.section("training"), files.section("seeds")
    facts = [*_model(files.section("model")), *_method(files.section("method"))]
    if training:
        steps = [f"{phase.phase}: {counted(phase.planned or 0, 'step')} planned" for phase in files.phases]
        facts.append(
            Fact("Steps", [*steps, f"{counted(int(training.get('steps') or 0), 'step')} done in all"])
        )
        facts.append(Fact("Precision", [_precision(training)]))
        rest = {name: value for name, value in training.items() if name not in SAID and value is not None}
        facts.append(Fact("Training settings", ["; ".join(_named(rest))]))
        facts.append(Fact("Budget", [str(training["budget"])] if training.get("budget") else ["none set"]))
    if record.get("corruption"):
        facts.append(Fact("Hidden from the model", [_corruption(str(record["corruption"]))]))
    if record.get("statistics"):
        facts.append(Fact("Running statistics of batch normalisation", [_statistics(record["statistics"])]))
    if seeds:
        facts.append(Fact("Seeds", _named(seeds)))
    if record.get("started"):
        facts.append(
            Fact(
                "Time",
                [f"{moment(record['started'])} to {moment(record.get('finished'))}", *_durations(files)],
            )
        )
    return facts


def left(files: RunFiles) -> list[str]:
    """What of the run's own making still holds, or held, forgotten images."""
    working = files.section("working_files")
    if not working:
        return []
    kept, removed = working.get("kept") or [], working.get("removed") or 0
    if kept:
        return [
            f"{counted(len(kept), 'working file')} of this run were kept on request and may hold forgotten images: "
            + ", ".join(str(name) for name in kept)
            + ". `efface purge RUN` removes them."
        ]
    return [
        f"The run's own working files (pixels, checkpoints, optimizer state; {removed} in number) were overwritten and "
        "removed. On flash or copy-on-write storage old blocks may outlive that."
    ]


def digests(files: RunFiles) -> list[Digest]:
    """Every digest of the record, in the order in which a reader would check them."""
    record, found = files.record, []
    for when, facts in files.section("model").items():
        if isinstance(facts, Mapping):
            found += [Digest(f"weights, {_when(when)}", facts["weights"])] if facts.get("weights") else []
            found += [Digest(f"model/{name}", value) for name, value in (facts.get("files") or {}).items()]
    if files.section("retrained").get("weights"):
        found.append(Digest("weights, retrained model", record["retrained"]["weights"]))
    found += [
        Digest(f"manifests/{name}.jsonl", facts["sha256"])
        for name, facts in files.section("sets").items()
        if facts.get("sha256")
    ]
    found += [Digest(name, value) for name, value in files.section("results").get("files", {}).items()]
    if files.section("config").get("sha256"):
        found.append(Digest("config.yaml (settings)", record["config"]["sha256"]))
    extractor = files.section("evaluation").get("extractor")
    if isinstance(extractor, Mapping) and extractor.get("digest"):
        found.append(Digest(f"feature extractor {extractor.get('name', '')}", extractor["digest"]))
    return [digest for digest in found if isinstance(digest.full, str)]


def surroundings(files: RunFiles) -> list[Fact]:
    """Software and hardware."""
    environment = dict(files.section("environment"))
    packages, source = environment.pop("packages", None) or {}, environment.pop("source", None) or {}
    facts = [Fact(name_of(name).capitalize(), [setting(value)]) for name, value in environment.items()]
    if packages:
        facts.append(
            Fact("Packages", [f"{name} {version or '(not installed)'}" for name, version in packages.items()])
        )
    if source.get("commit"):
        changed = ", with changes that were not committed" if source.get("changed") else ""
        facts.append(Fact("Source of efface", [f"commit {source['commit']}{changed}"]))
    return facts


def _sets(files: RunFiles) -> list[str]:
    counts = {name: facts.get("count", 0) for name, facts in files.section("sets").items()}
    counts = counts or {row.set: row.n for row in files.rows}
    words = {
        "forget": "to be forgotten",
        "retain": "to be kept",
        "neutral": "neutral (neither trained on nor named)",
        "validation": "for validation (shown to the method only)",
    }
    if files.record.get("proxy_retain"):
        words["retain"] = "as a proxy for those to be kept"
    return [f"{count} {words.get(name, name)}" for name, count in counts.items()] or ["not stated"]


def _duplicates(facts: Mapping[str, Any]) -> str:
    exact, near, action = facts.get("exact", 0), facts.get("near", 0), facts.get("action")
    bound = ""
    if facts.get("distance", -1) >= 0:
        bound = f" (near: perceptual hashes that differ in at most {facts['distance']} of 64 bits)"
    elif "distance" in facts:
        bound = " (near-copies were not looked for)"
    if not exact + near:
        return f"no copies or near-copies of forgotten images were found{bound}"
    outcome = {
        "forget": "they were moved to the images to be forgotten",
        "ignore": "they stayed among the retain images, as chosen",
    }.get(str(action), f"action: {action}")
    copies = f"{counted(exact, 'exact copy', 'exact copies')} and {counted(near, 'near-copy', 'near-copies')}"
    return f"{copies} found; {outcome}{bound}"


def _skipped(facts: Mapping[str, Any]) -> str:
    count, reasons = facts.get("count", 0), facts.get("reasons") or []
    if not count:
        return "no image: all could be read"
    return f"{counted(count, 'image')} that could not be read: {'; '.join(str(reason) for reason in reasons)}"


def _method(method: Mapping[str, Any]) -> list[Fact]:
    if not method:
        return []
    facts = [
        Fact(
            "Method",
            [str(method.get("name")), *([f"after {method['source']}"] if method.get("source") else [])],
        )
    ]
    if method.get("deviations"):
        facts.append(Fact("Deviations from the source", [str(method["deviations"])]))
    settings = method.get("settings") or {}
    facts.append(
        Fact(
            "Its settings",
            _named(settings) or ["none"],
        )
    )
    facts.append(
        Fact("Part that was trained", [PARTS.get(str(method.get("trains")), setting(method.get("trains")))])
    )
    rest = _named({name: value for name, value in method.items() if name not in ELSEWHERE})
    return [*facts, Fact("More", rest)] if rest else facts


def _named(settings: Mapping[str, Any]) -> list[str]:
    return [f"{name_of(name)}: {setting(value)}" for name, value in settings.items()]


def _model(models: Mapping[str, Any]) -> list[Fact]:
    """Which family the model is of, and how large it is."""
    described = (models.get("before") or models.get("after") or {}).get("description") or {}
    if described.get("kind") == "classifier":
        return [Fact("Model", [_classifier(described)])]
    family = FAMILIES.get(str(described.get("family")))
    if family is None:
        return []
    size = f"{described['parameters']:,} parameters, " if "parameters" in described else ""
    stage = described.get("first_stage")
    lines = [f"{family.name}: {family.summary.partition(' (')[0]}; {size}{described.get('image_size')} px"]
    return [Fact("Model", [*lines, f"behind and before it: {stage['kind']}"] if stage else lines)]


def _classifier(described: Mapping[str, Any]) -> str:
    kind = (described.get("origin") or {}).get("kind", "")
    colour = "grey" if described.get("channels") == 1 else "colour"
    return (
        f"image classifier ({described.get('network')}, {kind} layout) of {described.get('classes')} classes; "
        f"{described.get('parameters', 0):,} parameters, {described.get('image_size')} px, {colour}"
    )


def _statistics(facts: Mapping[str, Any]) -> str:
    count = facts.get("batch_norm_layers") or 0
    return f"{counted(count, 'layer')}: {facts.get('handled')}" if count else str(facts.get("handled"))


def _precision(training: Mapping[str, Any]) -> str:
    count = training.get("changed_parameters")
    tensors = f"; {counted(count, 'weight tensor')} trained" if count is not None else ""
    processes = counted(int(training.get("processes") or 1), "process", "processes")
    return f"{setting(training.get('precision'))}, {processes}{tensors}"


def _corruption(text: str) -> str:
    known = CORRUPTIONS.get(text.partition(":")[0])
    return f"{text} ({known.summary})" if known else text


def _durations(files: RunFiles) -> list[str]:
    times = files.section("durations").items()
    return [
        f"{name_of(name)}: {duration(seconds)}" for name, seconds in times if isinstance(seconds, int | float)
    ]


def _when(name: str) -> str:
    return {"before": "before unlearning", "after": "after unlearning"}.get(name, f"{name_of(name)} model")
