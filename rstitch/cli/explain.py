"""`rstitch explain`: re-run the policy on a trace, fail at the first decision that differs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rstitch.cli import options


def explain(
    trace: Annotated[Path, typer.Argument(help="A trace file (JSON lines).")],
    show: Annotated[bool, typer.Option(help="Print who wrote what, and how sure.")] = True,
    policy: Annotated[
        str | None,
        typer.Option(help="path.py:Class, for a trace whose policy is in a file; its code is run."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Check a trace against its own policy, and print it as coloured text."""
    import json

    from rich.console import Console

    from rstitch import explain as checker
    from rstitch import trace as traces
    from rstitch.policy.registry import from_file
    from rstitch.report import colour

    given = None if policy is None else from_file(policy)
    console, findings = Console(highlight=False), []
    for answer in traces.read(trace):
        difference = checker.check(answer, given)
        findings.append(
            {
                "id": answer.id,
                "policy": answer.policy,
                "decisions": len(answer.proposals),
                "complete": bool(answer.end),
                "difference": None if difference is None else difference.what,
                "at": None if difference is None else difference.index,
                "record": None if difference is None else difference.record,
            }
        )
        if as_json:
            continue
        if show:
            console.print(colour.coloured(answer), soft_wrap=True)
        if difference:
            of = f" of {len(answer.proposals)}" if difference.record == "decision" else ""
            typer.echo(f"{answer.id}: NOT reproduced: {difference.where}{of} {difference.what}")
        else:
            typer.echo(f"{answer.id}: {len(answer.proposals)} decisions reproduced")
    if as_json:
        typer.echo(json.dumps(findings))
    elif show:
        console.print(colour.legend())
    if any(finding["difference"] for finding in findings):
        raise typer.Exit(1)
