"""What finished parts of a run left on disk is looked at before the run goes on: whether it is still what they wrote."""

from __future__ import annotations

from efface.errors import RunRefused
from efface.runs.digests import RESULT_FILES, file_digests
from efface.runs.folder import RunFolder
from efface.runs.state import EvaluatedPart, FurtherPart, PreparedPart, TrainedPart


def refuse_other_outputs(run: RunFolder) -> None:
    """Raise `RunRefused` where a model that this run wrote is gone or changed: it would not be written again."""
    trained, further = run.finished(TrainedPart), run.finished(FurtherPart)
    written = {f"model/{name}": digest for name, digest in (trained.after.files if trained else {}).items()}
    for model, facts in (further.models if further else {}).items():
        written |= {f"path/{model}/{name}": digest for name, digest in facts.files.items()}
    there = file_digests(run.path, written)
    if changed := [name for name, digest in written.items() if there.get(name) != digest]:
        raise RunRefused(
            f"{', '.join(changed)} in {run.path}: no longer what this run wrote. Put it back to continue, or "
            "choose another --out folder"
        )


def manifests_are_whole(run: RunFolder) -> bool:
    """Whether every manifest of the prepared run is there as it was written."""
    prepared = run.finished(PreparedPart)
    if prepared is None:
        return False
    written = {f"manifests/{name}.jsonl": facts.sha256 for name, facts in prepared.images.sets.items()}
    return file_digests(run.path, written) == written


def results_are_whole(run: RunFolder) -> bool:
    """Whether the evaluation is finished, and every result file there as it was written."""
    evaluated = run.finished(EvaluatedPart)
    return evaluated is not None and file_digests(run.path, RESULT_FILES) == evaluated.files
