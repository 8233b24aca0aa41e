"""`rstitch sweep`: one rule at several values of one knob, and which of them are worth having."""

from __future__ import annotations

from typing import Annotated

import typer

from rstitch.cli import evaluating, options
from rstitch.cli.groups import grouped
from rstitch.errors import BadRequest


@grouped
def sweep(
    asked: evaluating.Asked,
    opening: options.Opening,
    values: Annotated[str, typer.Argument(help="The knob: tau=0.001,0.01,0.03,0.1.")],
    policy: Annotated[
        str, typer.Option(help="The rule, with its other parameters: window,window=8.")
    ] = "entropy",
    compile: options.Compile = False,
) -> None:
    """The frontier of a rule between both models alone."""
    methods = ["llm", "slm", *settings_of(policy, values)]
    evaluating.carry_out(asked, opening, methods, None, compile=compile)


def settings_of(policy: str, values: str) -> list[str]:
    """`tau=0.01,0.1` as one label for each value. Raises BadRequest for what is no knob."""
    knob, equals, listed = values.partition("=")
    found = [value.strip() for value in listed.split(",") if value.strip()]
    if not equals or not knob.strip() or not found:
        raise BadRequest(f"{values!r} is no knob with values; write it as tau=0.001,0.01,0.1")
    for value in found:
        options.number(knob, value)
    return list(dict.fromkeys(f"{policy},{knob.strip()}={value}" for value in found))
