"""Statement and signature of a run: what they say, how they are checked, and that tampering is told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from efface.errors import InputError
from efface.files import sha256_of_file
from efface.jobs.run import RunResult
from efface.runs.record import read_record
from efface.runs.statement import write_statement
from efface.runs.verification import summary, verify
from support.run_fixtures import CommandLine


@pytest.fixture
def copied(finished: RunResult, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may spoil."""
    shutil.copytree(finished.run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the keys of two signers, made as the docs say."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("signing", "other"):
        private, public = folder / f"{name}.pem", folder / f"{name}.pub"
        _run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private)
        _run("openssl", "ec", "-in", private, "-pubout", "-out", public)
    return folder


def sign(keys: Path, what: Path, signature: Path) -> None:
    """As the docs say."""
    options = ("--private_key", keys / "signing.pem", "--signature", signature)
    _run(sys.executable, "-m", "model_signing", "sign", "key", *options, what)


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def outcome(run: Path, name: str, public_key: Path | None = None) -> tuple[str, str]:
    checks = {check.what: check for check in verify(run, source_model=False, public_key=public_key)}
    return checks[name].outcome, checks[name].detail


def test_a_statement_names_the_delivered_files_and_carries_the_record(cli: CommandLine, copied: Path) -> None:
    assert cli("statement", copied).code == 0
    statement = json.loads((copied / "statement.json").read_text())
    record = read_record(copied)
    assert sorted(statement) == ["_type", "predicate", "predicateType", "subject"]
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == f"https://efface/record/v{record.schema_name.partition('/')[2]}"
    digests = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    assert digests == {name: sha256_of_file(copied / "model" / name) for name in record.model.after.files}
    assert statement["predicate"]["record"] == json.loads((copied / "record.json").read_text())
    assert statement["predicate"]["seal"]["digest"]["sha256"] == sha256_of_file(copied / "seal.json")
    assert outcome(copied, "statement.json")[0] == "matches"


def test_a_statement_that_says_something_else_differs(copied: Path) -> None:
    path = write_statement(copied)
    path.write_text(path.read_text().replace("empirical", "exact"))
    assert outcome(copied, "statement.json")[0] == "differs"
    assert "(predicate)" in outcome(copied, "statement.json")[1]


def test_no_statement_is_made_of_a_record_that_is_not_the_sealed_one(copied: Path) -> None:
    record = copied / "record.json"
    record.write_text(record.read_text() + " ")
    with pytest.raises(InputError, match="not the one that was sealed"):
        write_statement(copied)


def test_a_signature_matches_until_what_it_covers_changes(cli: CommandLine, copied: Path, keys: Path) -> None:
    public = keys / "signing.pub"
    sign(keys, copied / "seal.json", copied / "seal.sig")
    sign(keys, copied / "model", copied / "model" / "model.sig")
    shutil.copy(
        copied / "model" / "model.sig", copied / "model.sig"
    )  # the tool's own name for it, beside model/
    assert outcome(copied, "seal.sig") == (
        "not checked", "a signature; show the signer's public key with --public-key FILE",
    )  # fmt: skip
    told = cli("verify", copied, "--public-key", public, "--no-source-models")
    assert told.code == 0
    assert "signed with the key that was shown: model.sig, model/model.sig, seal.sig." in told.out
    assert "it covers seal.json, and by its list every other file" in told.out

    config = copied / "model" / "config.json"
    config.write_text(config.read_text() + " ")
    for name in ("model.sig", "model/model.sig"):
        assert outcome(copied, name, public)[0] == "differs"
        assert "config.json" in outcome(copied, name, public)[1]
    assert outcome(copied, "seal.sig", public)[0] == "matches"
    seal = copied / "seal.json"
    seal.write_text(seal.read_text() + " ")
    assert outcome(copied, "seal.sig", public)[0] == "differs"


def test_another_key_and_a_spoilt_signature_differ(copied: Path, keys: Path) -> None:
    signature = copied / "seal.sig"
    sign(keys, copied / "seal.json", signature)
    assert outcome(copied, "seal.sig", keys / "other.pub")[0] == "differs"
    bundle = json.loads(signature.read_text())
    hint = bundle["verificationMaterial"].pop("publicKey")
    spoilt: list[Callable[[], object]] = [
        lambda: "{",
        lambda: bundle,
        lambda: (
            bundle | {"verificationMaterial": {"publicKey": hint}, "dsseEnvelope": _payload(bundle, b"[]")}
        ),
        lambda: bundle | {"verificationMaterial": {"publicKey": hint}, "dsseEnvelope": _unsigned(bundle)},
    ]
    outcomes = []
    for make in spoilt:
        signature.write_text(json.dumps(make()))
        outcomes.append(outcome(copied, "seal.sig", keys / "signing.pub")[0])
    assert outcomes == ["differs", "not checked", "differs", "differs"]


def _payload(bundle: dict[str, dict[str, object]], payload: bytes) -> dict[str, object]:
    return bundle["dsseEnvelope"] | {"payload": payload.hex()}


def _unsigned(bundle: dict[str, dict[str, object]]) -> dict[str, object]:
    signatures = [{"sig": "AAAA"}]
    return bundle["dsseEnvelope"] | {"signatures": signatures}


def test_a_key_that_can_check_nothing_is_refused(copied: Path, keys: Path) -> None:
    with pytest.raises(InputError, match=r"no \*.sig lies in"):
        verify(copied, public_key=keys / "signing.pub")
    (copied / "run.sig").write_text("{}")
    with pytest.raises(InputError, match="none in PEM"):
        verify(copied, public_key=keys / "signing.pem")


def test_without_the_library_a_signature_is_not_checked(
    copied: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(keys, copied / "seal.json", copied / "seal.sig")
    monkeypatch.setitem(sys.modules, "model_signing.verifying", None)
    checks = verify(copied, source_model=False, public_key=keys / "signing.pub")
    found = next(check for check in checks if check.what == "seal.sig")
    assert found.outcome == "not checked"
    assert "pip install 'efface[sign]'" in found.detail
    assert summary(checks).endswith("No signature was checked.")
