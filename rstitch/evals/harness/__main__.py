"""lm_eval's own command line, with `--model rstitch` known; our failures in one line."""

from __future__ import annotations

import sys

from rstitch.errors import RStitchError


def main() -> None:
    try:
        from lm_eval.__main__ import cli_evaluate

        cli_evaluate()
    except RStitchError as error:
        sys.stderr.write(f"rstitch: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
