"""The application: routes, limits, and how faults are told in each format."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Response
from fastapi import Request as Call
from fastapi.exceptions import RequestValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException as StarletteHTTPException

from efface.errors import EffaceError, InputError, Stopped
from efface.ledger.events import head
from efface.ledger.opening import Ledger
from efface.requests.formats import fides as fides_format
from efface.requests.formats import opendsr as opendsr_format
from efface.requests.formats.drp import Forbidden
from efface.server import drp, fides, officer, opendsr, pages, person, rest
from efface.server.access import Access
from efface.server.callbacks import Deliverer
from efface.server.decoding import Decoder
from efface.server.limits import Guard
from efface.server.reading import StatusReader
from efface.server.serving import Problem, Service, document
from efface.server.signing import Signer, read_signer
from efface.wording import shortened

TOKENS = "made with: efface requests token add NAME --role ROLE"
WITHOUT_TOKEN = {
    ("/api/health", "get"),
    ("/v2/discovery", "get"),
    ("/v2/certificate", "get"),
    ("/v1/agent/{agent_id}", "post"),
}
DESCRIPTION = """Requests to have images erased from models, kept in a ledger. Tokens are made with
`efface requests token add`. Images are named by the sha256 of their files; photos are sent as bytes."""


def make_app(ledger: Ledger, deliver: bool = True) -> FastAPI:
    """The service over a ledger; raises `InputError` where the policy's certificate cannot be used.

    deliver: whether it also calls senders back.
    """
    signer = signer_of(ledger)
    with ledger.reading() as session:
        id_ = head(session).ledger

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        deliverer = Deliverer(ledger, signer)
        if deliver:
            deliverer.start()
        try:
            yield
        finally:
            deliverer.stop()
            app.state.service.decoder.close()
            app.state.service.status.close()

    app = FastAPI(
        title="efface requests",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # its page takes scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
        separate_input_output_schemas=False,
    )
    app.state.service = Service(ledger, Decoder(), signer, StatusReader(ledger), id_)
    app.state.access = Access(ledger)
    for routes in (rest, opendsr, drp, fides, officer, person):
        app.include_router(routes.router)
    app.add_api_route("/", pages.front, include_in_schema=False)
    app.add_api_route("/style.css", pages.style, include_in_schema=False)
    app.add_api_route("/favicon.ico", pages.icon, include_in_schema=False)
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(EffaceError, _refused)
    app.add_middleware(Guard)
    _describe(app)
    return app


def signer_of(ledger: Ledger) -> Signer | None:
    """Who signs answers of OpenDSR, where the policy says so; raises `InputError` where its files cannot be used."""
    service = ledger.policy.service
    if not service.certificate:
        return None
    if not (service.certificate_key and service.domain):
        raise InputError(
            "the policy names service.certificate; it must name service.certificate_key and service.domain too"
        )
    return read_signer(
        service.domain, ledger.place / service.certificate, ledger.place / service.certificate_key
    )


async def _http(call: Call, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    message = str(error.detail) or HTTPStatus(error.status_code).phrase
    return _told(call, error.status_code, message, [message], dict(error.headers or {}))


async def _invalid(call: Call, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [_said(fault) for fault in error.errors()]
    return _told(call, 422, "; ".join(problems), problems)


def _said(fault: ErrorDetails) -> str:
    """A fault of a parameter or body as one sentence."""
    place = ".".join(str(part) for part in fault["loc"][1:]) or str(fault["loc"][0])
    if fault["type"] == "missing":
        return f"{place}: it is needed and was not given"
    return f"{place}: {fault['msg']}, got {shortened(fault['input'])}"


async def _refused(call: Call, error: Exception) -> Response:
    """What is wrong with the input is the caller's to mend; a busy ledger is not."""
    if isinstance(error, InputError):
        code = 403 if isinstance(error, Forbidden) else 400
        return _told(call, code, str(error), list(error.problems))
    code = 503 if isinstance(error, Stopped) else 500
    return _told(call, code, str(error), [str(error)], {"Retry-After": "30"} if code == 503 else {})


def _told(
    call: Call, code: int, message: str, problems: list[str], headers: dict[str, str] | None = None
) -> Response:
    """A fault in the format of the route: a page for people, else JSON as the format has it."""
    path = call.url.path
    if path.startswith(("/officer", "/person")) or path == "/":
        return pages.fault(call, code, problems, headers)
    if path.startswith("/v2/"):
        return document(opendsr.error(code, message, problems), code, headers)
    if path.startswith("/v1/"):
        return document(drp.error(code, message), code, headers)
    return document(Problem(message=message, problems=problems), code, headers)


def _describe(app: FastAPI) -> None:
    """Give the OpenAPI document what routes read by themselves: tokens, and the bodies of the formats."""
    plain = app.openapi

    def described() -> Any:
        made = plain()
        schemas = made["components"]["schemas"]
        for name, model in (("OpenDSRRequest", opendsr_format.Body), ("FidesRequest", fides_format.Body)):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}", by_alias=True)
            schemas |= schema.pop("$defs", {})
            schemas[name] = schema
        made["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": TOKENS}
        }
        for path, methods in made["paths"].items():
            for method, operation in methods.items():
                if (path, method) not in WITHOUT_TOKEN:
                    operation["security"] = [{"token": []}]
        made["paths"]["/v1/agent/{agent_id}"]["post"]["responses"]["403"].pop("content", None)  # it is empty
        return made

    app.openapi = described  # type: ignore[method-assign]
