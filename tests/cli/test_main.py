"""Dispatch, help and how wrong usage is told."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rstitch import __version__
from tests.cli.terminal import rstitch

COMMANDS = ("demo", "generate", "check", "pairs", "explain", "record", "analyse")

HELP = f"""
import sys
from rstitch.cli.main import run
for command in ([], *([name] for name in {COMMANDS})):
    sys.argv = ["rstitch", *command, "--help"]
    try:
        run()
    except SystemExit as stop:
        assert stop.code == 0, (command, stop.code)
heavy = {{"torch", "transformers", "numpy"}} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_of_every_command_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for word in (*COMMANDS, "--tau", "--trace", "--problems", "--no-show"):
        assert word in done.stdout


def test_version() -> None:
    assert rstitch("--version").out == f"rstitch {__version__}\n"


def test_without_a_command_the_help_is_shown() -> None:
    done = rstitch()
    assert "Usage" in done.out + done.err
    assert all(command in done.out + done.err for command in COMMANDS)


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["generat"], "generat"),
        (["--tau", "0.1"], "--tau"),
        (["generate"], "prompt"),
        (["generate", "x", "--tua", "0.1"], "--tua"),
        (["generate", "x", "--max-tokens", "many"], "--max-tokens"),
        (["generate", "x", "--seed", "1.5"], "--seed"),
        (["generate", "x", "y"], "y"),
        (["explain"], "trace"),
        (["explain", "t", "--tau", "0.1"], "--tau"),
        (["demo", "--problems", "0"], "--problems"),
        (["demo", "--problems", "few"], "--problems"),
        (["pairs", "one", "two"], "two"),
    ],
)
def test_wrong_usage_names_what_is_wrong(argv: list[str], named: str) -> None:
    done = rstitch(*argv)
    assert (done.code, done.out) == (2, "")
    assert named in done.err and "Traceback" not in done.err
    assert done.err.startswith("Usage: rstitch ")
