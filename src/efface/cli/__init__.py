"""The command line, one file for each verb. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import os

import typer

from efface.cli import bench
from efface.cli.delta import apply, delta
from efface.cli.demo import demo
from efface.cli.ends import end, expected
from efface.cli.evaluate import evaluate
from efface.cli.lineage import lineage
from efface.cli.listing import list_
from efface.cli.options import say
from efface.cli.plan import plan
from efface.cli.purge import purge
from efface.cli.push import push
from efface.cli.report import report
from efface.cli.requests import app as requests_app
from efface.cli.score import score
from efface.cli.split import split
from efface.cli.statement import statement
from efface.cli.train import train
from efface.cli.unlearn import unlearn
from efface.cli.verify import verify
from efface.errors import EXIT_CODES
from efface.training.interruption import interrupt_on_signals

HELP = "Make an image model forget chosen images, and show what that did."
EPILOG = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."


app = typer.Typer(
    name="efface",
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
KEEPING_NOTHING = (
    "split", "plan", "score", "report", "lineage", "verify", "statement", "push", "delta", "apply", "list",
)  # fmt: skip
"""Verbs that begin anew when they were stopped."""
for name, verb in (
    ("demo", demo),
    ("split", split),
    ("plan", plan),
    ("train", train),
    ("unlearn", unlearn),
    ("evaluate", evaluate),
    ("score", score),
    ("report", report),
    ("lineage", lineage),
    ("verify", verify),
    ("statement", statement),
    ("push", push),
    ("delta", delta),
    ("apply", apply),
    ("purge", purge),
    ("list", list_),
):
    app.command(name)(expected(verb, keeps=name not in KEEPING_NOTHING))

benches = typer.Typer(help=bench.HELP, no_args_is_help=True, rich_markup_mode=None)
benches.command("classifiers")(expected(bench.classifiers))
benches.command("generators")(expected(bench.generators))
benches.command("memorisation")(expected(bench.memorisation))
app.add_typer(benches, name="bench")
app.add_typer(requests_app, name="requests")


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and stop.", is_eager=True),
) -> None:
    if version:
        from importlib.metadata import version as installed

        say(f"efface {installed('efface')}")
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    # model libraries print notices of their own; ours are the ones that matter here
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # threads that wait by spinning slow a run down several times as soon as anything else wants the processor
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    interrupt_on_signals()
    # what a verb writes tells of forgotten images; whom it is shown to is the owner's to say
    os.umask(0o077)
    end(app)
