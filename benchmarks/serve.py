"""The service under load: the status of a request beside an empty FastAPI route, pages of a long queue beside a short one.

    python benchmarks/serve.py [--calls 10000] [--requests 10000]
    python benchmarks/serve.py --smoke

Each pair is taken in turn, block by block: the same client, over the same kind of connection, first one server and then the
other. Every server is a process of its own. Rates fall with whatever else the machine does, so the processor time that
each server took for a block stands beside them.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from efface.ledger.opening import Ledger
from efface.ledger.requests import NewRequest, add_request
from efface.server.tokens import Role, add_token
from machine import add_options, finish, ratios, spread

EMPTY = """
import sys
import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.get("/empty")
async def empty() -> dict[str, str]:
    return {}


uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False, server_header=False)
"""
SHORT = 100
PER_PAGE = 50
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Block:
    """Calls of one server in a row: seconds and processor seconds for one call, and how many were not answered with 200."""

    seconds: float
    processor: float
    errors: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=10_000, help="calls of the status")
    parser.add_argument("--requests", type=int, default=10_000, help="open requests in the long queue")
    parser.add_argument("--block", type=int, default=250, help="calls in a row")
    add_options(parser)
    options = parser.parse_args()
    if options.smoke:
        options.calls, options.requests, options.block = 100, 200, 25
    with tempfile.TemporaryDirectory() as work:
        long, token = ledger_of(Path(work) / "long", options.requests)
        short, short_token = ledger_of(Path(work) / "short", SHORT)
        with empty() as (none, none_id), serving(long) as (ours, ours_id), serving(short) as (few, few_id):
            draw = random.Random(0)
            status = [
                f"/api/requests/R-{draw.randint(1, options.requests):05d}" for _ in range(options.calls)
            ]
            pairs = [
                (block(none, none_id, ["/empty"] * len(paths)), block(ours, ours_id, paths, token))
                for paths in in_blocks(status, options.block)
            ]
            listed = {
                name: paged(
                    name, (ours, ours_id, token, options.requests), (few, few_id, short_token, SHORT), options
                )
                for name in ("queue", "due")
            }
    finish("serve", values(pairs, listed, options), options)


def values(
    pairs: Sequence[tuple[Block, Block]], listed: dict[str, dict[str, object]], options: argparse.Namespace
) -> dict[str, object]:
    """The result."""
    empties, statuses = [one for one, _ in pairs], [one for _, one in pairs]
    return {
        "status_calls": options.calls,
        "status_errors": sum(one.errors for one in statuses),
        "empty_per_second": spread([1 / one.seconds for one in empties]),
        "status_per_second": spread([1 / one.seconds for one in statuses]),
        "status_rate_of_empty": ratios([one.seconds for one in empties], [one.seconds for one in statuses]),
        "status_processor_time_of_empty": ratios(
            [one.processor for one in statuses], [one.processor for one in empties]
        ),
        "open_requests": {"long": options.requests, "short": SHORT},
        "page_of": PER_PAGE,
        "listing": listed,
    }


def paged(
    name: str, long: tuple[int, int, str, int], short: tuple[int, int, str, int], options: argparse.Namespace
) -> dict[str, object]:
    """A page of the long queue beside one of the short queue: the first, and of the long one others anywhere."""
    calls = max(4, options.block // 5)
    times: dict[str, list[Block]] = {"long": [], "short": []}
    draw = random.Random(1)
    for _ in range(5 if options.smoke else 20):
        for which, (port, pid, token, count) in (("long", long), ("short", short)):
            paths = [page_path(name, draw.randint(0, count - PER_PAGE)) for _ in range(calls)]
            times[which].append(block(port, pid, paths, token))
    return {
        "errors": sum(one.errors for blocks in times.values() for one in blocks),
        "milliseconds": {
            which: spread([1000 * one.seconds for one in blocks]) for which, blocks in times.items()
        },
        "processor_time_of_short": ratios(
            [one.processor for one in times["long"]], [one.processor for one in times["short"]]
        ),
    }


def page_path(name: str, after: int) -> str:
    if name == "due":
        return f"/api/due?within=60&most={PER_PAGE}"
    states = "&".join(f"state={one}" for one in ("received", "needs-input", "located", "approved", "in-work"))
    return f"/api/requests?{states}&after={after}&most={PER_PAGE}"


def block(port: int, pid: int, paths: Sequence[str], token: str = "") -> Block:
    """Call each path once, over one connection."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection = http.client.HTTPConnection("127.0.0.1", port)
    errors, before, begun = 0, processor_seconds(pid), time.perf_counter()
    for path in paths:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        errors += answer.status != 200
    took = time.perf_counter() - begun
    connection.close()
    return Block(took / len(paths), max(processor_seconds(pid) - before, 1 / TICKS) / len(paths), errors)


def processor_seconds(pid: int) -> float:
    """Processor time that a process has taken so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
    return (int(user) + int(system)) / TICKS


def in_blocks(paths: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(paths), size):
        yield paths[start : start + size]


def ledger_of(place: Path, count: int) -> tuple[Path, str]:
    """A ledger of so many open requests, and a token that may read them."""
    ledger = Ledger.create(place)
    (place / "policy.yaml").write_text("service: {calls_per_minute: 100000000}\n")
    with ledger.session() as session:
        token = add_token(session, "load", Role.reviewer, 1, "benchmark")
        for number in range(count):
            received = datetime.now(UTC) - timedelta(minutes=number)
            add_request(
                ledger,
                session,
                NewRequest("load", "csv", received, [f"{number:064x}"], sender_id=str(number)),
                "benchmark",
            )
    ledger.engine.dispose()
    return place, str(token)


@contextmanager
def serving(place: Path) -> Iterator[tuple[int, int]]:
    """`efface requests serve` over a ledger: its port and process."""
    port = free_port()
    with process(
        [sys.executable, "-m", "efface", "requests", "serve", "--ledger", str(place), "--port", str(port)],
        port,
    ) as pid:
        yield port, pid


@contextmanager
def empty() -> Iterator[tuple[int, int]]:
    """A FastAPI application with one route that does nothing."""
    port = free_port()
    with process([sys.executable, "-c", EMPTY, str(port)], port) as pid:
        yield port, pid


@contextmanager
def process(command: Sequence[str], port: int) -> Iterator[int]:
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if running.poll() is not None:
                raise SystemExit(f"{command[0]} ended with {running.returncode}")
            time.sleep(0.1)
        yield running.pid
    finally:
        running.terminate()
        running.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
