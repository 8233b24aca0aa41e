"""What the benchmarks share: options, the machine's description, how they end."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstitch.evals.machine import machine as about
from rstitch.pairs import BUILTIN
from rstitch.pairs.recipe.subjects import ARITHMETIC, SUBJECTS, Subject

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"


def rotated(names: Iterable[str], number: int) -> list[str]:
    """The names in their order, each time beginning with another: what blocks take turns by."""
    order = list(names)
    first = number % len(order)
    return [*order[first:], *order[:first]]


def parser(description: str | None, quick: str) -> argparse.ArgumentParser:
    """With the options of every benchmark; `quick` says what a quick run leaves out."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--quick", action="store_true", help=quick)
    options.add_argument("--save", action="store_true", help="keep under benchmarks/results/")
    return options


def pair_parser(description: str | None, quick: str) -> argparse.ArgumentParser:
    """The same for benchmarks that a pair has to pass before it ships; see `Asked`."""
    options = parser(description, quick)
    options.add_argument(
        "--pair", type=Path, help="directory with slm/ and llm/; the task's own if absent"
    )
    options.add_argument(
        "--task", choices=tuple(SUBJECTS), default=ARITHMETIC.name, help="what the pair was taught"
    )
    return options


def parsed(options: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line's arguments; a quick run is not kept."""
    args = options.parse_args()
    if args.quick and args.save:
        options.error("--save keeps full runs only; leave out --quick")
    return args


@dataclass(frozen=True)
class Asked:
    """Which pair a benchmark measures, on which problems."""

    subject: Subject[Any]
    pair: Path
    """Its directory; that of the pair that ships for the subject where none was named."""

    @classmethod
    def by(cls, args: argparse.Namespace) -> Asked:
        """As the options of `pair_parser` say."""
        subject = SUBJECTS[args.task]
        return cls(subject, args.pair or subject.home)

    @property
    def models(self) -> dict[str, str]:
        """`rstitch.load`'s slm and llm."""
        return {side: str(self.pair / side) for side in ("slm", "llm")}

    @property
    def tau(self) -> float | None:
        """The one that it ships with, if it does."""
        card = self.pair / "pair.json"
        return float(json.loads(card.read_text())["tau"]) if card.is_file() else None

    def name(self, benchmark: str) -> str:
        """Of its results: one file for each subject."""
        return self.subject.prefix + benchmark


def machine() -> dict[str, Any]:
    """Versions and hardware that a number belongs to."""
    return {**about(), "commit": commit()}


def commit() -> str | None:
    """The code's commit, "+dirty" where more than results differs from it; None without git."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != ROOT.resolve():
            return None  # another project's checkout, in which this one was installed
        changed = git("status", "--porcelain", "--", ".", f":!{RESULTS.relative_to(ROOT)}")
        return git("rev-parse", "--short", "HEAD") + ("+dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def weights(pair: Path | None = None) -> dict[str, Any]:
    """Which weights were measured: the version of a pair that has shipped, and their hashes."""
    folder = pair or BUILTIN
    card = folder / "pair.json"
    files = [
        file for side in ("llm", "slm") for file in sorted((folder / side).glob("*.safetensors"))
    ]
    return {
        "version": json.loads(card.read_text())["version"] if card.is_file() else None,
        "sha256": {
            file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
        },
    }


def say(text: str = "") -> None:
    print(text, flush=True)


def progress(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def show_bars(bars: Mapping[str, bool]) -> None:
    """A line for everything that was asked."""
    for name, met in bars.items():
        say(f"{'met   ' if met else 'MISSED'} {name}")


def finish(
    name: str,
    ratio: float,
    goal: float,
    details: dict[str, Any],
    save: bool,
    pair: Path | None = None,
) -> None:
    """Print the one JSON line, and keep it under benchmarks/results/ if asked."""
    record = {"name": name, "ratio": round(ratio, 4), "goal": goal, **details}
    record |= {"pair": weights(pair), "on": machine()}
    if save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record), flush=True)
