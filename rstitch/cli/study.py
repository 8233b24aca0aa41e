"""`rstitch study`: the paper's tables, or one's own, with what they cost told first."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstitch.cli import evaluating, options
from rstitch.errors import BadRequest

if TYPE_CHECKING:
    from rstitch.api import Stitch
    from rstitch.evals.study.cells import Cell
    from rstitch.evals.study.kept import Kept
    from rstitch.evals.study.run import Questions
    from rstitch.evals.study.spec import Study

Hours = Annotated[
    float | None,
    typer.Option(min=0.0, help="Leave out what does not fit, in a stated order; all if left out."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Go on without asking, whatever it takes.")]
Draft = Annotated[
    str | None, typer.Option(help="The other SLM for speculation: a directory or hub id.")
]


def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="paper-7b, paper-14b, paper-32b, builtin, or a path.toml."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory of the study; given again, it goes on.")],
    hours: Hours = None,
    yes: Yes = False,
    slm: options.Slm = None,
    llm: options.Llm = None,
    draft: Draft = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; the study's if left out.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16; the study's if left out.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Accuracy on all problems, latency on a few, the rest priced; ours beside the paper's."""
    from rstitch.evals.study import kept, run, spec

    chosen = spec.load(name)
    settings = {**chosen.settings, **options.given(device=device, dtype=dtype)}
    models = options.given(slm=slm, llm=llm, draft=draft)
    chosen = replace(chosen, settings=settings, **models)
    kept.check(out)
    asked = {"study": chosen.asdict(), "hours": hours}
    with kept.claimed(out):
        found = kept.read(out, asked)
        questions = run.questions(chosen)
        _carry_out(chosen, found, asked, questions, out, hours, yes)
        _finish(out, as_json)


def _carry_out(
    chosen: Study,
    found: Kept | None,
    asked: Mapping[str, Any],
    questions: Mapping[str, Questions],
    out: Path,
    hours: float | None,
    yes: bool,
) -> None:
    """Settle what is run, ask, and run it; nothing is loaded where nothing is owed."""
    from rstitch.evals.study import kept

    if found is None:
        with _pair(chosen) as (stitch, load):
            found = _settled(chosen, stitch, load, questions, out, hours)
            _ask(found, yes)
            kept.keep(found, asked)
            _cells(found, _owed(found, draft=False), questions, stitch, found.study)
    else:
        if _owed(found, draft=False) or _owed(found, draft=True):
            _ask(found, yes)
        if _owed(found, draft=False):
            with _pair(found.study) as (stitch, _):
                _cells(found, _owed(found, draft=False), questions, stitch, found.study)
    if _owed(found, draft=True):
        other = drafted(found.study)
        with _pair(other, suffix={"slm": ""}) as (stitch, _):
            _cells(found, _owed(found, draft=True), questions, stitch, other)


def drafted(study: Study) -> Study:
    """The study with the other draft as its SLM."""
    from rstitch.pairs import preset

    llm = study.llm
    if study.pair == "builtin" and llm is None:
        llm = preset("builtin").llm.source  # a pair of one's own is named by both
    return replace(study, slm=study.draft, llm=llm)


@contextmanager
def _pair(study: Study, suffix: Mapping[str, str] | None = None) -> Iterator[tuple[Stitch, float]]:
    """The pair, with the seconds that loading took."""
    started = time.perf_counter()
    settings = {"max_rows": study.in_flight, **study.settings}
    with options.open_pair(study.pair, study.slm, study.llm, suffix=suffix, **settings) as stitch:
        yield stitch, time.perf_counter() - started


def _settled(
    study: Study,
    stitch: Stitch,
    load: float,
    questions: Mapping[str, Questions],
    out: Path,
    hours: float | None,
) -> Kept:
    from rstitch.evals.study import estimate, run, shrink
    from rstitch.evals.study.kept import Kept

    typer.echo("measuring seconds a token of both sides", err=True)
    first = questions[study.tasks[0]].problems
    probe = estimate.probe(stitch, first, study.in_flight, load)
    sizes = run.sizes(questions)
    dropped: list[str] = []
    if hours is not None:
        study, dropped = shrink.shrunk(study, probe, sizes, hours)
    return Kept(out, study, probe, sizes, tuple(dropped))


def _ask(found: Kept, yes: bool) -> None:
    """What it takes and what was left out; then whether to go on."""
    from rstitch.cli.studied import expected

    hours, lines = expected(found)
    for line in lines:
        typer.echo(line, err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadRequest(
            f"this takes about {hours:.2g} hours of this machine; give --yes to go on, or "
            "--hours for less"
        )
    typer.confirm("Go on?", abort=True, err=True)


def _owed(found: Kept, draft: bool) -> list[Cell]:
    from rstitch.evals.study import kept, run
    from rstitch.evals.study.cells import cells

    finished = kept.finished(found)
    every = [cell for cell in cells(found.study) if (cell.kind == "draft") == draft]
    return [cell for cell in every if not run.is_whole(found, cell, finished)]


def _cells(
    found: Kept,
    todo: list[Cell],
    questions: Mapping[str, Questions],
    stitch: Stitch,
    study: Study,
) -> None:
    from rstitch.evals.study import run
    from rstitch.evals.verify import Verifier

    about = evaluating.about_run(stitch, study.pair, study.slm, study.llm)
    with Verifier() as verifier, evaluating.progress() as tell:
        run.run(found, todo, questions, stitch, about, verifier, tell)


def _finish(out: Path, as_json: bool) -> None:
    """The tables on stdout and beside the runs, and the run card."""
    from rstitch.cli import studied
    from rstitch.evals.study import kept
    from rstitch.evals.study.cells import cells
    from rstitch.evals.study.outcome import outcome
    from rstitch.report.card import make_card

    found = kept.read(out)
    assert found is not None, out
    made = outcome(found)
    kept.write(out / kept.TABLE, studied.as_json(found, made))
    runs = [found.cell(cell.name) for cell in cells(found.study)]
    kept.write(out / kept.CARD, make_card(runs, out))
    if as_json:
        typer.echo(json.dumps(studied.as_json(found, made)))
    else:
        typer.echo("\n".join(studied.lines(found, made)))
    for warning in made.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"check it with: rstitch report --verify {out / kept.CARD}", err=True)
