"""`rstitch analyse`: what a recording says, again or at another tau, without its models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rstitch.cli import analysed, options


def analyse(
    recording: Annotated[Path, typer.Argument(help="Directory that rstitch record has written.")],
    run: Annotated[
        Path | None,
        typer.Option(
            "--with",
            help="An eval run of llm and speculative on the same task, for its speed-ups.",
        ),
    ] = None,
    tau: options.Tau = None,
    as_json: options.Json = False,
) -> None:
    """Entropies, lengths, agreement and harmful tokens of a recording; kept as analysis.json."""
    analysed.show(recording, run=run, tau=options.threshold(tau), as_json=as_json)
