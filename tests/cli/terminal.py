"""Running `rstitch` as a person does: in this process where that is enough, and in another."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from rstitch.cli.main import run


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on stderr that a failure is told in, with nothing on stdout."""
        assert (self.code, self.out) == (1, ""), self
        assert self.err.startswith("rstitch: ") and self.err.count("\n") == 1, self.err
        return self.err.removeprefix("rstitch: ").rstrip("\n")


def rstitch(*argv: str, stdin: bytes = b"") -> Done:
    """In this process, not on a terminal."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        patch.object(sys, "argv", ["rstitch", *argv]),
        patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            run()
        except SystemExit as stop:
            code = stop.code
    assert isinstance(code, int | None)
    return Done(code or 0, out.getvalue(), err.getvalue())


SLOWLY = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
from rstitch.engine.torch_runner import TorchRunner
extend = TorchRunner.extend
def slowly(*args, **options):
    time.sleep(0.05)
    return extend(*args, **options)
TorchRunner.extend = slowly
from rstitch.cli.main import run
run()
"""
"""The command line with forward passes so slow that there is a middle to interrupt."""


def start_slowly(*argv: str) -> subprocess.Popen[bytes]:
    """In another process, with both outputs piped."""
    command = [sys.executable, "-W", "error", "-c", SLOWLY, *argv]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
