"""Which images a request means: equal bytes, copies, look-alikes; what people decided stays; the erased list."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from skimage import data

from efface.errors import InputError
from efface.images.scanning import scan
from efface.images.sources import open_images
from efface.ledger.erased import erase_for, erased_among
from efface.ledger.models import facts_of as facts_of_model
from efface.ledger.models import model_named
from efface.ledger.opening import Ledger
from efface.ledger.policy import Policy
from efface.ledger.requests import NewRequest, add_request, facts_of, move, request_named
from efface.ledger.sets import add_set
from efface.ledger.states import State
from efface.ledger.tables import SetImage
from efface.requests.decide import confirm, reject
from efface.requests.intake import add_photo
from efface.requests.locate import Located, locate, waiting
from support.command_line import CommandLine, cli

__all__ = ["cli"]

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "camera")
NUMBERS = count()
NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    for name in PHOTOS:
        Image.fromarray(getattr(data, name)()).convert("RGB").resize((192, 160)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def ledger(tmp_path: Path, photos: Path) -> Iterator[Ledger]:
    made = Ledger.create(tmp_path / "ledger", None, "ada")
    add_set(made, "photos", str(photos), "ada")
    yield made
    made.engine.dispose()


def asked(ledger: Ledger, *images: Image.Image | bytes, hashes: tuple[str, ...] = ()) -> str:
    """A request with these pictures, or bytes; its id."""
    new = NewRequest(
        sender="photos",
        sender_id=f"of-{next(NUMBERS)}",
        format="photos",
        received=NOW,
        digests=hashes,
    )
    with ledger.session() as session:
        request, _ = add_request(ledger, session, new, "ada")
        for image in images:
            content = image if isinstance(image, bytes) else encoded(image)
            add_photo(ledger, session, request, content, "ada")
        return request.id


def encoded(image: Image.Image) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=70)
    return buffer.getvalue()


def located(ledger: Ledger, *ids: str) -> Located:
    (one,) = locate(ledger, ids or waiting(ledger), "ada")
    return one


def shown(ledger: Ledger, id_: str) -> dict[str, tuple[str, str]]:
    """How each image was located, and what is decided on it."""
    with ledger.reading() as session:
        full = facts_of(session, request_named(session, id_))
    return {image.path: (image.how, image.decision) for image in full.located_images}


def screenshot(photo: Path) -> Image.Image:
    """A crop of a photo on a screen, with bars around it."""
    picture = Image.open(photo).convert("RGB")
    wide, high = picture.size
    part = picture.crop((wide // 10, high // 10, wide - wide // 10, high - high // 10))
    screen = Image.new("RGB", (240, 400), (250, 250, 250))
    screen.paste(part.resize((220, 180)), (10, 110))
    return screen


def test_equal_bytes_hashes_and_changed_copies_are_located(ledger: Ledger, photos: Path) -> None:
    id_ = asked(
        ledger,
        (photos / "chelsea.png").read_bytes(),
        screenshot(photos / "astronaut.png"),
        ImageOps.mirror(Image.open(photos / "coffee.png")),
    )
    one = located(ledger)
    assert (one.request, one.state, one.exact, one.copies, one.added) == (id_, State.located, 1, 2, 3)
    assert shown(ledger, id_) == {
        "chelsea.png": ("exact", "confirmed"),
        "astronaut.png": ("copy", "confirmed"),
        "coffee.png": ("copy", "confirmed"),
    }
    by_hash = asked(ledger, hashes=(open_images(photos / "rocket.png").ids[0],))
    one = located(ledger, by_hash)
    assert (one.exact, one.hashes_only, one.state) == (1, 1, State.located)


def test_nothing_located_and_nothing_to_go_by_are_told_apart(ledger: Ledger) -> None:
    stranger = asked(ledger, Image.effect_noise((120, 120), 80).convert("RGB"))
    assert located(ledger, stranger).state == State.not_found
    damaged = asked(ledger, Image.effect_noise((90, 90), 80).convert("RGB"))
    with ledger.reading() as session:
        (photo,) = request_named(session, damaged).supplied
    (ledger.place / str(photo.place)).write_bytes(b"no picture")
    one = located(ledger, damaged)
    # its digest is known, so the same bytes would still be found
    assert (len(one.unreadable), one.state) == (1, State.not_found)
    empty = asked(ledger)
    assert located(ledger, empty).state == State.needs_input


def test_locating_twice_changes_nothing_and_a_new_set_is_gone_through(
    ledger: Ledger, photos: Path, tmp_path: Path
) -> None:
    id_ = asked(ledger, (photos / "chelsea.png").read_bytes())
    located(ledger)
    with ledger.reading() as session:
        before = facts_of(session, request_named(session, id_))
    assert not waiting(ledger)
    assert located(ledger, id_).added == 0
    with ledger.reading() as session:
        assert facts_of(session, request_named(session, id_)) == before
    (tmp_path / "more").mkdir()
    Image.open(photos / "chelsea.png").resize((96, 80)).save(tmp_path / "more" / "small.png")
    add_set(ledger, "more", str(tmp_path / "more"), "ada")
    with ledger.session() as session:
        move(session, request_named(session, id_), State.approved, "ada")
    assert waiting(ledger) == [id_]
    # a person has to look at what is new
    assert (located(ledger).added, shown(ledger, id_)["small.png"]) == (1, ("copy", "confirmed"))
    with ledger.reading() as session:
        assert request_named(session, id_).state == State.located


def test_what_a_person_decided_stays(ledger: Ledger, photos: Path) -> None:
    id_ = asked(ledger, (photos / "chelsea.png").read_bytes())
    located(ledger)
    with ledger.session() as session:
        request = request_named(session, id_)
        reject(ledger, session, request, [request.located[0].id], "grace", "another cat")
    located(ledger, id_)
    assert shown(ledger, id_) == {"chelsea.png": ("exact", "rejected")}
    with ledger.session() as session:
        move(session, request_named(session, id_), State.withdrawn, "ada")
    with pytest.raises(InputError, match="no longer looked for"):
        located(ledger, id_)


def test_look_alikes_wait_for_a_person(ledger: Ledger, photos: Path) -> None:
    values = {"locating": {"extractor": "built-in", "similarity": 0.0, "most": 2}}
    policy = Policy.read(values, where="policy")
    object.__setattr__(ledger, "policy", policy)
    id_ = asked(ledger, (photos / "chelsea.png").read_bytes())
    one = located(ledger)
    assert (one.exact, one.look_alikes) == (1, 2)
    alike = [name for name, (how, _) in shown(ledger, id_).items() if how == "look-alike"]
    assert {shown(ledger, id_)[name][1] for name in alike} == {"open"}
    with ledger.session() as session:
        request = request_named(session, id_)
        numbers = [image.id for image in request.located if image.how == "look-alike"]
        confirm(ledger, session, request, numbers[:1], "grace")
    assert sorted(decision for _, decision in shown(ledger, id_).values()) == [
        "confirmed",
        "confirmed",
        "open",
    ]


def test_embeddings_of_faces_need_a_ground() -> None:
    with pytest.raises(InputError, match="with a ground and an extractor"):
        Policy.read({"face_embeddings": {"allowed": True}}, where="policy")


def test_a_set_that_is_not_finished_stops_it(ledger: Ledger, tmp_path: Path) -> None:
    asked(ledger, Image.new("RGB", (64, 64)))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError):
        add_set(ledger, "bad", str(tmp_path / "bad"), "ada")
    with ledger.reading() as session:
        begun = session.query(SetImage).count()
    assert begun == len(PHOTOS)


def test_what_was_erased_is_known_again_exact_and_as_a_copy(
    ledger: Ledger, photos: Path, tmp_path: Path
) -> None:
    id_ = asked(ledger, (photos / "chelsea.png").read_bytes())
    located(ledger)
    with ledger.session() as session:
        request = request_named(session, id_)
        images = [one.image for one in request.located]
        assert erase_for(session, ledger.key, images, request) == 1
        assert erase_for(session, ledger.key, images, request) == 0
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(photos / "chelsea.png", new / "same.png")
    Image.open(photos / "chelsea.png").resize((150, 125)).save(new / "smaller.jpg", quality=80)
    shutil.copy(photos / "rocket.png", new / "rocket.png")
    Image.open(photos / "chelsea.png").crop((19, 16, 173, 144)).save(new / "cropped.png")
    given = open_images(new)
    erased = erased_among(ledger, given, scan(given).of(given))
    assert [(Path(one.path).name, one.how, one.request) for one in erased] == [
        ("cropped.png", "copy", id_),
        ("same.png", "exact", id_),
        ("smaller.jpg", "copy", id_),
    ]
    assert {one.keyed for one in erased} == {ledger.keyed(given.ids[2])}
    assert [one.how for one in erased_among(ledger, given)] == ["exact"]
    assert located(ledger, id_).erased_before == 1


def test_a_job_beside_a_ledger_stops_at_what_was_erased_and_registers_its_model(
    ledger: Ledger, photos: Path, tmp_path: Path, cli: CommandLine
) -> None:
    images = tmp_path / "set"
    for name, label in zip(PHOTOS, ("people", "things", "things", "things", "people"), strict=True):
        (images / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / f"{name}.png", images / label)
    add_set(ledger, "labelled", str(images), "ada")
    train = ("train", "--classifier", "small-conv", "--images", images, "--ledger", ledger.place)
    quick = ("--set", "recipe.epochs=1", "--set", "architecture.image_size=16")
    done = cli(*train, *quick, "--out", tmp_path / "first")
    assert (done.code, "registered as first" in done.out + done.err) == (0, True), done
    with ledger.reading() as session:
        assert facts_of_model(session, model_named(session, "first")).trained_on == ["labelled"]
    id_ = asked(ledger, (photos / "chelsea.png").read_bytes())
    located(ledger, id_)
    with ledger.session() as session:
        request = request_named(session, id_)
        erase_for(session, ledger.key, [one.image for one in request.located], request)
    refused = cli(*train, *quick, "--out", tmp_path / "second")
    assert refused.code == 2
    keyed = ledger.keyed(open_images(photos / "chelsea.png").ids[0])[:16]
    assert f"things/chelsea.png is {keyed}, erased for {id_}" in refused.err
    assert "1 image to train on was erased" in refused.err
    rest = cli(*train, *quick, "--without", images / "things/chelsea.png", "--out", tmp_path / "third")
    assert rest.code == 0, rest
    check = cli("requests", "set", "check", images, "--ledger", ledger.place, "--json")
    assert (check.code, json.loads(check.out)["erased"][0]["how"]) == (1, "exact")
