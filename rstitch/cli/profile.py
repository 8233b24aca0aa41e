"""`rstitch profile`: what a step costs here, saved for the waiting table of later runs."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from rstitch.cli import options
from rstitch.types import Side


def profile(
    out: Annotated[Path, typer.Argument(help="JSON file to write, for --profile.")],
    pair: options.Pair = "builtin",
    slm: options.Slm = None,
    llm: options.Llm = None,
    threads: options.Threads = None,
    dtype: options.Dtype = options.DEFAULTS.dtype,
    device: options.Device = options.DEFAULTS.device,
    engine: options.Engine = options.DEFAULTS.engine,
) -> None:
    """Measure a step of each model, with one row and with several, and save the line through it."""
    import torch

    from rstitch import __version__
    from rstitch.costs import save_profile

    with options.open_pair(
        pair, slm, llm, threads=threads, dtype=dtype, device=device, engine=engine
    ) as stitch:
        costs = stitch.measure()
        models = {side.label: model.source for side, model in stitch.models.items()}
    save_profile(
        out,
        costs,
        models=models,
        machine=platform.machine(),
        device=device,
        dtype=dtype,
        versions={"rstitch": __version__, "torch": torch.__version__},
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    for side in Side:
        one, more = costs.seconds(side, 1), costs.per_row[side]
        typer.echo(
            f"{side.name}: {1e3 * one:.2f} ms a step with one row, {1e3 * more:.2f} ms more a row",
            err=True,
        )
