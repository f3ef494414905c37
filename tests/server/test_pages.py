"""The pages in a real browser (Debian's Chromium, by Playwright): at desktop and phone width, light and dark, by keyboard.

`pytest -m slow tests/server/test_pages.py`; with EFFACE_PICTURES=FOLDER it also leaves pictures, as in docs/server.md.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn
from PIL import Image
from skimage import data

from efface.files import sha256_of_bytes
from efface.ledger.opening import Ledger
from efface.ledger.requests import NewRequest, add_request, move
from efface.ledger.states import State
from efface.ledger.tables import ImageSet, LocatedImage, SetImage
from efface.requests.links import link_to
from efface.requests.uploads import add_photo
from efface.server.app import make_app
from efface.server.tokens import Role, add_token
from server.conftest import new_ledger

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
PICTURES = os.environ.get("EFFACE_PICTURES")
CONTRAST = """() => {
  const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => { for (let e = element; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; } return [255, 255, 255, 1]; };
  const poor = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push(element.tagName + ' ' + element.textContent.trim().slice(0, 30) + ' ' + ratio.toFixed(2));
  }
  return poor;
}"""
UNLABELLED = """() => [...document.querySelectorAll('input:not([type=hidden]), select, textarea')]
  .filter(e => !(e.labels && e.labels.length)).map(e => e.name)"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str], Ledger]]:
    """A running service over requests about the bundled photos; its address, tokens by role, and the ledger."""
    place = tmp_path_factory.mktemp("site")
    ledger = new_ledger(place / "ledger", "{calls_per_minute: 100000}")
    (place / "ledger" / "policy.yaml").write_text(
        "organisation: {name: Example Museum, contact: privacy@museum.example, authority: the data protection authority}\n"
        "service: {calls_per_minute: 100000}\n"
    )
    ledger = Ledger.open(place / "ledger")
    (place / "photos").mkdir()
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        image = Image.fromarray(getattr(data, name)())
        image.thumbnail((400, 400))
        image.save(place / "photos" / f"{name}.png")
    now = datetime.now(UTC)
    with ledger.session() as session:
        tokens = {
            role: str(add_token(session, f"{role}-ada", role, 10, "ada"))
            for role in Role
            if role != Role.agent
        }
        images = ImageSet(name="museum-visitors", place=str(place / "photos"), added=now, indexed=now)
        session.add(images)
        for number, (state, days, regime) in enumerate(
            [
                ("received", 40, "GDPR"),
                ("located", 27, "GDPR"),
                ("approved", 12, "CCPA"),
                ("in-work", 20, "GDPR"),
                ("received", 2, None),
            ]
            * 12
        ):
            new = NewRequest(
                sender=f"webform-{number % 3}",
                format="rest",
                received=now - timedelta(days=days),
                digests=[],
                sender_id=f"W-{number + 1000}",
                regime=regime,
                name="Jo Doe",
                contact="jo@example.org",
                letter="Please delete my picture.\nI never agreed to it.",
            )
            request, _ = add_request(ledger, session, new, "webform")
            request.state = state
            if number == 1:
                request.state = "received"
                crop = Image.open(place / "photos" / "astronaut.png").crop((60, 0, 360, 300))
                crop.save(place / "crop.jpg", quality=70)
                photo = add_photo(ledger, session, request, (place / "crop.jpg").read_bytes(), "webform")
                for name, how, score in (
                    ("astronaut", "copy", 0.942),
                    ("chelsea", "look-alike", 0.713),
                    ("coffee", "look-alike", 0.655),
                ):
                    digest = sha256_of_bytes((place / "photos" / f"{name}.png").read_bytes())
                    image = SetImage(
                        set=images, path=f"{name}.png", digest=digest, keyed=ledger.keyed(digest)
                    )
                    decision = "confirmed" if how == "copy" else "open"
                    request.located.append(
                        LocatedImage(
                            image=image, supplied_id=photo.id, how=how, score=score, decision=decision
                        )
                    )
                move(session, request, State.located, "ada")
    server = uvicorn.Server(
        uvicorn.Config(make_app(ledger, deliver=False), port=0, log_level="warning", access_log=False)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", {str(role): token for role, token in tokens.items()}, ledger
    server.should_exit = True
    thread.join()
    ledger.engine.dispose()


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_pages_read_well_at_each_width_and_in_both_schemes(site, browser, size: str, scheme: str) -> None:
    at, tokens, ledger = site
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=True
    )
    page = context.new_page()
    wrong: list[str] = []
    page.on(
        "console",
        lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("requestfailed", lambda request: wrong.append(request.url))
    page.goto(f"{at}/officer/login")
    check(page, f"login-{size}-{scheme}")
    page.fill("#token", tokens["approver"])
    page.press("#token", "Enter")
    page.wait_for_url(f"{at}/officer")
    for path, name in (
        ("/officer", "queue"),
        ("/officer/requests/R-00002", "request"),
        ("/officer/new", "new"),
        ("/officer/events", "events"),
        (link_to(ledger.key, "R-00002", ""), "person"),
    ):
        page.goto(at + path)
        page.wait_for_load_state("networkidle")
        check(page, f"{name}-{size}-{scheme}")
    assert wrong == []
    context.close()


def check(page, name: str) -> None:
    """Nothing is wider than the screen, texts have the contrast of WCAG AA, fields have labels, pictures have words."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
        f"{name} is wider than the screen"
    )
    assert page.evaluate(CONTRAST) == [], name
    assert page.evaluate(UNLABELLED) == [], name
    for image in page.locator("img").all():
        image.scroll_into_view_if_needed()  # pictures are fetched when they come into view
    page.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.evaluate("[...document.images].every(i => i.alt)"), name
    page.evaluate("scrollTo(0, 0)")
    assert page.locator("h1").count() == 1, name
    assert page.locator("script").count() == 0, name
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


def test_the_keyboard_alone_decides_a_request_without_any_script(site, browser) -> None:
    at, tokens, _ = site
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{at}/officer/login")
    page.wait_for_selector("input:focus")
    page.keyboard.type(tokens["approver"])
    page.keyboard.press("Enter")
    page.wait_for_url(f"{at}/officer")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.goto(f"{at}/officer/requests/R-00002")
    for decide in ("Confirm the ticked ones", "Reject the ticked ones"):
        boxes = page.locator("li.open input[name=image]")
        tab_to(page, boxes.first)
        page.keyboard.press("Space")
        tab_to(page, page.get_by_role("button", name=decide))
        with page.expect_navigation():
            page.keyboard.press("Enter")
    assert page.locator("li.open").count() == 0
    tab_to(page, page.locator("input[name=kind][type=radio]").first)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.type("the crop is hers")
    page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.locator("h1 .state").inner_text() == "approved"
    context.close()


def focused(page) -> str:
    return page.locator(":focus").inner_text()


def tab_to(page, target) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if target.and_(page.locator(":focus")).count():
            return
    raise AssertionError(f"Tab never reaches {target}")
