"""A dataclass of options stands for its fields, with their help, defaults and order free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from rstitch.cli.groups import grouped


@dataclass(frozen=True)
class Place:
    """Two options and an argument."""

    name: Annotated[str, typer.Argument(help="Where.")]
    rows: Annotated[int, typer.Option(min=1, help="How many.")] = 3
    flat: Annotated[bool, typer.Option("--flat", help="No hills.")] = False


@grouped
def walk(place: Place, far: Annotated[float, typer.Option(help="How far.")] = 1.5) -> None:
    """Go somewhere."""
    typer.echo(f"{place} {far}")


APP = typer.Typer()
APP.command()(walk)


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(APP, list(words))
    return done.exit_code, done.output


def test_fields_are_options_with_their_own_defaults() -> None:
    assert run("park") == (0, "Place(name='park', rows=3, flat=False) 1.5\n")
    words = ("--flat", "--far", "2", "park", "--rows", "7")
    assert run(*words) == (0, "Place(name='park', rows=7, flat=True) 2.0\n")


def test_what_a_field_says_of_itself_is_held_to() -> None:
    assert run()[0] == 2  # a field without a default is needed
    code, told = run("park", "--rows", "0")
    assert code == 2 and "greater than or equal to 1" in " ".join(told.split())
    code, told = run("--help")
    assert code == 0 and "How many." in told and "No hills." in told and "Go somewhere." in told
    assert "--place" not in told and run("park", "--place", "x")[0] == 2
