"""The example's README on tiles of scikit-image's photos, from photos to answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from efface.ledger.models import all_models, facts_of
from efface.ledger.opening import Ledger
from efface.ledger.requests import list_requests

SIDE = 128
SETS = {"astronaut": "portrait", "chelsea": "portrait", "coffee": "thing", "immunohistochemistry": "thing"}


@pytest.fixture
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of four photos, by turns in two sets; what people send is among them, but for one."""
    folder = tmp_path_factory.mktemp("requests") / "photos"
    for name, label in SETS.items():
        pixels = getattr(data, name)()
        tiles = [
            pixels[top : top + SIDE, left : left + SIDE]
            for top in range(0, pixels.shape[0] - SIDE + 1, SIDE)
            for left in range(0, pixels.shape[1] - SIDE + 1, SIDE)
        ]
        for number, tile in enumerate(tiles):
            save(folder / ("portraits", "studio")[number % 2] / label / f"{name}-{number:02d}.png", tile)
    for person, (set_, number) in {
        "ada": ("portraits", 4),
        "dora": ("portraits", 8),
        "eve": ("studio", 5),
    }.items():
        photo = Image.open(folder / set_ / "portrait" / f"astronaut-{number:02d}.png")
        save(folder / "inbox" / person / "mine.png", np.asarray(photo))
    screen = Image.new("RGB", (300, 500), (245, 245, 245))
    photo = Image.open(folder / "portraits" / "portrait" / "chelsea-04.png").crop((10, 10, 118, 118))
    screen.paste(photo.resize((280, 280)), (10, 120))
    save(folder / "inbox" / "ben" / "screenshot.png", np.asarray(screen))
    save(folder / "inbox" / "cem" / "mine.png", data.rocket()[:SIDE, 200 : 200 + SIDE])
    return folder


def save(place: Path, pixels: np.ndarray) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(place)


def test_the_readme_from_photos_to_answers(photos: Path, follow: Callable[[Path, Path], object]) -> None:
    follow(Path(__file__).parent, photos)
    ledger = Ledger.open(Path())
    with ledger.reading() as session:
        states = {one.id: str(one.state) for one in list_requests(session)}
        models = {one.name: one for one in (facts_of(session, each) for each in all_models(session))}
    assert states == {
        "R-00001": "done",
        "R-00002": "done",
        "R-00003": "not-found",
        "R-00004": "withdrawn",
        "R-00005": "done",
    }
    # the first batch reaches the first model and the one made from it; Eve's photo the second one and that again
    in_service = {name for name, model in models.items() if model.status == "in-service"}
    assert in_service == {"portraits-v2", "studio-v2", "derived-v3"}
    assert models["derived"].learnt_from == ["studio", "portraits"]
    letters = {
        path.parts[1]: path.read_text(encoding="utf-8") for path in Path("answers").glob("*/*/letter.txt")
    }
    assert set(letters) == set(states)
    assert "Ada" in letters["R-00001"]
    assert "portraits-v2" in letters["R-00001"]
    assert 'lang="de"' in Path("answers/R-00002/1/letter.html").read_text(encoding="utf-8")
    ledger.engine.dispose()
