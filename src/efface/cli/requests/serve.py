"""`efface requests serve`"""

from __future__ import annotations

import ipaddress
from typing import Annotated

import typer

import efface.cli.options as o
from efface.cli.requests.options import LedgerFolder, open_ledger


def serve(
    host: Annotated[
        str,
        typer.Option(help="The address to listen at. Others than this machine's own need a proxy for TLS."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen at.", min=1, max=65535)] = 8080,
    callbacks: Annotated[
        bool, typer.Option(help="Whether senders are called back (else: efface requests notify).")
    ] = True,
    ledger: LedgerFolder = None,
) -> None:
    """Serve the ledger over the network: published formats, our own interface, pages for officers and persons.

    It speaks plain HTTP and listens to this machine alone; a proxy before it does TLS (docs/server.md).

    Example: efface requests serve --port 8080"""
    import uvicorn

    from efface.server.app import make_app

    app = make_app(open_ledger(ledger), callbacks)
    at = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    o.say(f"{at}/officer for officers; {at}/api/openapi.json for programs; ends with Ctrl-C")
    if not _is_own(host):
        o.say("Plain HTTP reaches beyond this machine: put a proxy with TLS before it, or leave out --host.")
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,  # addresses of persons' pages are secret
        server_header=False,
        limit_concurrency=200,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=10,
    )


def _is_own(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
