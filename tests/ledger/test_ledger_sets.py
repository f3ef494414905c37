"""Image sets, models, the key, erasure and checks of a ledger."""

from __future__ import annotations

import os
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select, update

from efface.errors import InputError, Mismatch, Stopped
from efface.images.fingerprints import FINGERPRINT, fingerprint, stacked
from efface.ledger import events, keys, sets
from efface.ledger.copy_indexes import copy_index, drop_indexes
from efface.ledger.fingerprints import Mask, copies_of_erased, masked_anew, masked_codes
from efface.ledger.models import add_model, ancestry, facts_of, model_named, set_status
from efface.ledger.opening import Ledger
from efface.ledger.requests import add_request, move, request_named
from efface.ledger.rotation import rotate_key
from efface.ledger.sets import add_set, set_named
from efface.ledger.states import State
from efface.ledger.sweeping import sweep
from efface.ledger.tables import Erased, Event, ImageSet, ModelVersion, PersonalFile, SetImage, SuppliedImage
from efface.ledger.verifying import verify_ledger
from efface.requests.intake import take_in
from efface.requests.uploads import add_photo
from ledger.conftest import BOTH
from ledger.test_ledger import new


def picture(seed: int, side: int = 64) -> Image.Image:
    """A picture with something in it: blobs of its own at its own places."""
    draws = np.random.default_rng(seed)
    small = draws.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures in two classes; the last one is damaged behind its header."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(12):
        place = folder / ("cats" if number % 2 else "dogs") / f"{number:02d}.png"
        place.parent.mkdir(exist_ok=True)
        picture(number).save(place)
    damaged = folder / "cats" / "11.png"
    damaged.write_bytes(damaged.read_bytes()[:-400])
    return folder


@BOTH
def test_a_set_is_indexed_and_its_copies_are_found(ledger: Ledger, photos: Path) -> None:
    facts = add_set(ledger, "pets", str(photos), "ada")
    assert (facts.images, facts.added, facts.undecodable) == (12, 12, 1)
    turned = picture(4, 200).transpose(Image.Transpose.ROTATE_90)
    with ledger.reading() as session:
        image_set = set_named(session, "pets")
        index, ids = copy_index(ledger, session, image_set)
        matches = index.query(stacked([fingerprint(turned)]))
        found = session.get_one(SetImage, int(ids[matches.entry[0]]))
        assert (len(index), len(matches.entry), found.path, found.label) == (11, 1, "dogs/04.png", "dogs")
        assert found.keyed == ledger.keyed(found.digest)
        damaged = session.scalars(select(SetImage).where(SetImage.path == "cats/11.png")).one()
        assert (damaged.fingerprint, bool(damaged.fault)) == (None, True)
        drop_indexes(ledger, image_set)
    assert [path.name for path in (ledger.place / "indexes").iterdir() if path.is_dir()] == []


def test_a_stopped_indexing_goes_on_where_it_stopped(
    ledger: Ledger, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sets, "BATCH", 5)
    read: list[str] = []

    def counting(named: tuple[str, object]) -> object:
        read.append(named[0])
        return reading(named)

    reading = sets._read
    monkeypatch.setattr(sets, "_read", counting)

    def stop(what: str, done: int, total: int) -> None:
        if done > 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_set(ledger, "pets", str(photos), "ada", stop)
    with (
        ledger.reading() as session,
        pytest.raises(InputError, match="pets is not indexed to its end: efface requests set add"),
    ):
        sets.finished_sets(session)
    facts = add_set(ledger, "pets", str(photos), "ada")
    assert (facts.added, len(read), len(set(read))) == (2, 12, 12)
    at_once = add_set(ledger, "others", str(photos), "ada")
    assert facts.digest == at_once.digest
    with pytest.raises(InputError, match="the set pets lies in"):
        add_set(ledger, "pets", str(photos / "cats"), "ada")


def test_a_set_grows_and_unreadable_files_are_named(ledger: Ledger, photos: Path, tmp_path: Path) -> None:
    place = tmp_path / "set"
    shutil.copytree(photos / "dogs", place)
    before = add_set(ledger, "dogs", str(place), "ada")
    picture(99).save(place / "new.png")
    os.symlink(tmp_path / "nowhere.png", place / "lost.png")
    with pytest.raises(InputError, match=r"(?s)1 of 8 images cannot be read.*lost\.png: No such file"):
        add_set(ledger, "dogs", str(place), "ada")
    after = add_set(ledger, "dogs", str(place), "ada", skip_unreadable=True)
    assert (before.images, after.images, after.digest != before.digest) == (6, 7, True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images found"):
        add_set(ledger, "empty", str(tmp_path / "empty"), "ada")


@BOTH
def test_a_model_is_known_by_its_weights_and_learns_through_its_parents(ledger: Ledger) -> None:
    with ledger.session() as session:
        session.add_all(
            ImageSet(name=name, place="/", added=datetime.now(UTC)) for name in ("first", "second")
        )
        old, _ = add_model(
            session, Path("runs/one/model"), "ab" * 32, "generator", "ada", trained_on=["first"]
        )
        child, is_new = add_model(
            session,
            Path("runs/two/model"),
            "cd" * 32,
            "generator",
            "ada",
            trained_on=["second"],
            parent="one",
        )
        assert is_new
        assert not add_model(session, Path("/elsewhere"), "cd" * 32, "generator", "ada")[1]
        assert [one.name for one in ancestry(session, child)] == ["two", "one"]
        assert facts_of(session, child).learnt_from == ["second", "first"]
        again, _ = add_model(
            session, Path("/x/runs/one/model"), "ef" * 32, "generator", "ada", trained_on=["first"]
        )
        assert again.name == "one-2"
        for wrong, said in (
            ({}, "say what it learnt from"),
            ({"trained_on": ["third"]}, "no image set 'third' in this ledger. There are: first, second"),
            ({"parent": "nobody"}, "no model 'nobody'"),
            ({"trained_on": ["first"], "name": "one"}, "is taken by another model"),
        ):
            with pytest.raises(InputError, match=said):
                add_model(session, Path("m"), "12" * 32, "generator", "ada", **wrong)
        with pytest.raises(InputError, match="registered as two, with other sets"):
            add_model(session, Path("m"), "cd" * 32, "generator", "ada", trained_on=["first"])
        for name in ("one", "1", "ab" * 8, str(Path("runs/one/model").absolute())):
            assert model_named(session, name) is old
        set_status(session, old, "superseded", "ada")
        set_status(session, old, "superseded", "ada")
        kinds = [event.kind for event in events.events_after(session, 1)]
    assert kinds == ["model-added"] * 3 + ["model-status"]


def test_masked_codes_find_copies_and_tell_nothing_without_the_key() -> None:
    prints = [fingerprint(picture(seed)) for seed in range(20)]
    key, other = b"k" * 32, b"o" * 32
    erased = [masked_codes(key, one.tobytes()) for one in prints]
    assert all(erased)
    copies = [picture(3, 48), picture(5).transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    copies += [picture(7).transpose(Image.Transpose.ROTATE_270), picture(400)]
    queries = stacked(map(fingerprint, copies))
    found = copies_of_erased(key, [one for one in erased if one], queries)
    assert [(row, entry) for row, entry, _ in found] == [(0, 3), (1, 5), (2, 7)]
    assert copies_of_erased(other, [one for one in erased if one], queries) == []
    anew = masked_anew(erased[3] or b"", key, other)
    assert anew == masked_codes(other, prints[3].tobytes())
    plain = np.frombuffer(erased[3] or b"", np.uint64)
    apart = np.bitwise_count(Mask.of(key).off(plain) ^ plain).mean()
    assert 20 < apart < 44
    flat = fingerprint(Image.new("RGB", (40, 40), (9, 9, 9)))
    assert masked_codes(key, flat.tobytes()) is None
    assert copies_of_erased(key, [], np.zeros(0, FINGERPRINT)) == []


@BOTH
def test_another_key_makes_all_ids_anew_or_none(
    ledger: Ledger, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_set(ledger, "dogs", str(photos / "dogs"), "ada")
    with ledger.session() as session:
        image = session.scalars(select(SetImage).where(SetImage.path == "04.png")).one()
        digest, masked = image.digest, masked_codes(ledger.key, image.fingerprint or b"")
        session.add(Erased(keyed=image.keyed, masked=masked, added=datetime.now(UTC)))
        add_request(ledger, session, new(digests=[digest]), "ada")
    stale = Ledger.open(ledger.place)

    def killed(place: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(keys, "take_new", killed)
        with pytest.raises(KeyboardInterrupt):
            rotate_key(ledger, "ada")
    fresh = Ledger.open(ledger.place)
    assert fresh.key != ledger.key
    assert not keys.beside(fresh.key_file).exists()
    with fresh.reading() as session:
        erased = session.scalars(select(Erased)).one()
        image = session.scalars(select(SetImage).where(SetImage.path == "04.png")).one()
        supplied = session.scalars(select(SuppliedImage)).one()
        assert erased.keyed == image.keyed == supplied.keyed == keys.keyed_id(fresh.key, digest)
        assert erased.masked == masked_codes(fresh.key, image.fingerprint or b"")
    assert [one.outcome for one in verify_ledger(fresh)] == ["matches"] * 7
    with pytest.raises(Stopped, match="key of this ledger was rotated"), stale.session():
        pass
    with fresh.session() as session:
        session.add(Erased(keyed="ab" * 32, added=datetime.now(UTC)))
    with pytest.raises(InputError, match="1 erased images are in no set"):
        rotate_key(fresh, "ada")
    assert Ledger.open(fresh.place).key == fresh.key
    keys.write_key(fresh.key_file, keys.new_key())
    with pytest.raises(InputError, match="is not the key of this ledger"):
        Ledger.open(fresh.place)


def test_what_is_erased_leaves_no_trace_but_ids(ledger: Ledger, photos: Path) -> None:
    added = take_in(
        ledger, [str(photos / "dogs")], new(None, name="Jane Doe", contact="Berlin", digests=()), "ada"
    )[0]
    files = [path for path in ledger.uploads.rglob("*") if path.is_file()]
    assert len(files) == added.images == 6
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in files} == {0o700}
    assert sweep(ledger, "ada").photos == 0
    orphan = files[0].with_name("orphan")
    orphan.write_bytes(b"left by a command that died")
    os.utime(orphan, (0, 0))
    with ledger.session() as session:
        request = session.scalars(select(PersonalFile)).one().request
        move(session, request, State.refused, "ada")
        request.answered = datetime.now(UTC)
    swept = sweep(ledger, "ada")
    assert (swept.photos, swept.personal, swept.abandoned) == (6, 0, 1)
    assert list(ledger.uploads.iterdir()) == []
    later = datetime.now(UTC) + timedelta(days=91)
    outcomes = {one.what: one.outcome for one in verify_ledger(ledger, later)}
    assert outcomes["personal files"] == "differs"
    assert sweep(ledger, "ada", later).personal == 1
    assert {one.outcome for one in verify_ledger(ledger, later)} == {"matches"}
    held = b"".join(path.read_bytes() for path in ledger.place.glob("ledger.db*"))
    assert b"Jane Doe" not in held
    assert b"Berlin" not in held
    with ledger.reading() as session:
        kinds = [event.kind for event in events.events_after(session)]
        digests = session.scalars(select(SuppliedImage.digest)).all()
    assert kinds[-4:] == ["photos-erasing", "photos-erased", "personal-erasing", "personal-erased"]
    assert set(digests) == {None}


def test_a_photo_is_kept_once(ledger: Ledger, photos: Path) -> None:
    data = (photos / "dogs" / "00.png").read_bytes()
    with ledger.session() as session:
        request, _ = add_request(ledger, session, new(digests=()), "ada")
        first, again = (add_photo(ledger, session, request, data, "ada") for _ in range(2))
        assert first is again
        assert (ledger.place / str(first.place)).read_bytes() == data


@BOTH
def test_tables_that_were_changed_behind_the_events_are_told(ledger: Ledger, photos: Path) -> None:
    add_set(ledger, "dogs", str(photos / "dogs"), "ada")
    with ledger.session() as session:
        request, _ = add_request(ledger, session, new(), "ada")
        add_model(session, Path("m"), "ab" * 32, "generator", "ada", trained_on=["dogs"])
    assert {one.outcome for one in verify_ledger(ledger)} == {"matches"}
    with ledger.session() as session:
        request_named(session, request.id).state = State.done
        session.execute(update(ModelVersion).values(status="withdrawn"))
        session.execute(update(SetImage).where(SetImage.path == "02.png").values(digest="00" * 32))
    told = {one.what: one.outcome for one in verify_ledger(ledger)}
    assert [what for what, outcome in told.items() if outcome == "differs"] == [
        "states of requests",
        "statuses of models",
        "image sets",
    ]


@BOTH
def test_a_restored_ledger_is_noticed(ledger: Ledger, tmp_path: Path) -> None:
    with ledger.session() as session:
        add_request(ledger, session, new(), "ada")
    Ledger.open(ledger.place)
    with ledger.engine.begin() as connection:  # as an older copy has it
        connection.execute(update(Event).where(Event.number == 2).values(digest="00" * 32))
    with pytest.raises(
        Mismatch, match=r"event 2, which was its last, is missing or another. It was restored"
    ):
        Ledger.open(ledger.place)
    (ledger.place / "head.json").unlink()
    Ledger.open(ledger.place)
