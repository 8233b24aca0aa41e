"""`python -m rstitch`: the command line of this interpreter's installation."""

from __future__ import annotations

from rstitch.cli.main import run

if __name__ == "__main__":
    run()
