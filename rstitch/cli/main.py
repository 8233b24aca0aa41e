"""`rstitch`: dispatch, and how failures reach a person: one line with the remedy."""

from __future__ import annotations

import sys

import typer

from rstitch import __version__
from rstitch.cli import (
    analyse,
    calibrate,
    chat,
    check,
    compare,
    convert,
    demo,
    eval,
    explain,
    generate,
    pairs,
    plan,
    profile,
    record,
    report,
    serve,
    study,
    sweep,
    train_router,
)
from rstitch.errors import RStitchError

app = typer.Typer(
    name="rstitch",
    help="A small and a large language model write one answer together (R-Stitch).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("generate")(generate.generate)
app.command("serve")(serve.serve)
app.command("chat")(chat.chat)
app.command("eval")(eval.evaluate)
app.command("compare")(compare.compare)
app.command("sweep")(sweep.sweep)
app.command("record")(record.record)
app.command("analyse")(analyse.analyse)
app.command("calibrate")(calibrate.calibrate)
app.command("train-router")(train_router.train_router)
app.command("study")(study.study)
app.command("check")(check.check)
app.command("pairs")(pairs.pairs)
app.command("profile")(profile.profile)
app.command("plan")(plan.plan)
app.command("explain")(explain.explain)
app.command("report")(report.report)
app.command("convert")(convert.convert)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"rstitch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


def run() -> None:
    """Entry point. 0 done, 1 it could not be done, 2 wrong usage, 130 interrupted."""
    try:
        app(prog_name="rstitch")
    except RStitchError as error:
        sys.stderr.write(f"rstitch: {error}\n")
        sys.exit(1)
