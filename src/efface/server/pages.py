"""What all pages have in common: templates, the style sheet, faults told to people."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import HTTPException, Response
from fastapi import Request as Call
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from efface.wording import moment, printable, sentence

LETTER = (
    "default-src 'none'; style-src 'unsafe-inline'; sandbox; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""What the letter's page may do: show itself."""
FOR_A_DAY = {"Cache-Control": "max-age=86400"}


async def front() -> Response:
    """The front page leads officers to their queue."""
    return RedirectResponse("/officer", 303)


async def icon() -> Response:
    """Browsers ask for an icon of their own accord; there is none."""
    return Response(status_code=204, headers=FOR_A_DAY)


async def style() -> Response:
    """The style sheet of all pages."""
    return Response(_style(), media_type="text/css", headers=FOR_A_DAY)


def page(template: str, code: int = 200, **content: Any) -> HTMLResponse:
    """A page from its template; every value is made printable, then escaped."""
    text = _environment().get_template(f"{template}.html.j2").render(content)
    return HTMLResponse(text, code)


def fault(call: Call, code: int, problems: Sequence[str], headers: dict[str, str] | None = None) -> Response:
    """A fault on a page, or the way to the login."""
    if code == 401 and call.url.path.startswith("/officer") and call.method == "GET":
        return RedirectResponse("/officer/login", 303)
    title = {404: "There is no such page", 403: "This is not for you", 429: "Too many calls"}.get(
        code, HTTPStatus(code).phrase if code >= 500 else "That did not work"
    )
    answer = page("fault", code, title=title, problems=problems, caller=None, language="en")
    answer.headers.update(headers or {})
    return answer


def letter(folder: Path) -> HTMLResponse:
    """The letter in the folder of an answer, kept from doing anything but showing itself; raises 404 where it is gone."""
    place = folder / "letter.html"
    if not place.is_file():
        raise HTTPException(404, "the letter is no longer there")
    return HTMLResponse(place.read_bytes(), headers={"Content-Security-Policy": LETTER})


@cache
def _style() -> str:
    return (files("efface.server") / "templates" / "style.css").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("efface.server", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else printable(str(value)),
    )
    environment.filters |= {"moment": moment, "sentence": sentence}
    return environment
