"""A calibration's card: a pair file with the tau that was chosen, and what it was chosen by.

`--pair card.toml` reads it (`rstitch.pairs`), and `rstitch.pairs.calibrated` refuses it on other
models than those whose hashes it holds. Written whole or not at all, and never over another file.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rstitch.errors import BadRequest
from rstitch.evals.calibration.choice import Choice
from rstitch.evals.calibration.curve import Curve, Point
from rstitch.evals.calibration.plan import Plan
from rstitch.files import published
from rstitch.pairs import Preset
from rstitch.types import Side

HEAD = "# Written by `rstitch calibrate`; give it as --pair. It holds for these two models alone.\n"
DIGITS = 5


def check(path: Path) -> None:
    """Raise BadRequest for a place where no card can be written, before anything else is done."""
    if path.suffix != ".toml":
        raise BadRequest(f"--out {path} must end in .toml, as --pair reads it")
    if path.exists():
        raise BadRequest(f"--out {path} is there already; name another file, or remove it")
    if not path.absolute().parent.is_dir():
        raise BadRequest(f"--out {path}: there is no directory {path.parent}")
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise BadRequest(f"--out {path}: the directory is not yours to write in")


def content(
    known: Preset, plan: Plan, curve: Curve, choice: Choice, asked: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """What the card says. known: the pair as it was chosen, for what the models do not tell; asked:
    of the run's configuration; folder: where the card will lie, models below which are named
    relative to it."""
    return {
        "tau": choice.tau,
        "checked": known.checked,
        "measured": True,
        "note": f"Calibrated on {plan.prompts.name}: {choice.why}",
        **{side.label: _side(known, side, asked, folder) for side in Side},
        "sampling": {k: v for k, v in plan.sampling.as_dict().items() if k != "seed"},
        "calibration": {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "pair": known.name,
            "prompts": plan.prompts.name,
            "fingerprint": asked["prompts"],
            "n": curve.llm.n,
            "labels": plan.prompts.labelled,
            "max_tokens": plan.max_tokens,
            "seed": plan.seed,
            "left_out": list(curve.left_out),
            "bound": asdict(curve.bound) if curve.bound else None,
            "llm": _point(curve.llm),
            "settings": asked["settings"],
            "machine": asked["machine"],
            "models": {
                label: {**one, "sha256": asked["weights"][label]}
                for label, one in asked["models"].items()
            },
            "taus": [_point(one) for one in curve.points],
        },
    }


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Raises BadRequest where the file has come to be meanwhile, or cannot be written."""
    text = HEAD + "\n".join(_lines(found)) + "\n"
    assert tomllib.loads(text) == _told(found), text
    try:
        with published(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise BadRequest(f"--out {path} has come to be meanwhile; name another file") from error
    except OSError as error:
        raise BadRequest(f"--out {path} cannot be written: {error.strerror}") from error


def _side(known: Preset, side: Side, asked: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    model, preset = asked["models"][side.label], known.side(side)
    place = Path(model["source"])
    where: dict[str, Any] = {"id": model["source"], "revision": model["revision"]}
    if place.exists():
        absolute, near = place.resolve(), folder.resolve()
        inside = absolute.is_relative_to(near)
        where = {"path": str(absolute.relative_to(near) if inside else absolute)}
    return {
        **where,
        "licence": preset.licence,
        "suffix": asked["suffixes"].get(side.label) or None,
        "special_tokens": dict(preset.special_tokens) or None,
    }


def _point(point: Point) -> dict[str, Any]:
    return {k: v if k == "tau" else _rounded(v) for k, v in asdict(point).items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else value


# -- TOML, of what a card holds: texts, numbers, flags, flat lists and tables ----------------------


def _told(value: Any) -> Any:
    """As it will be read: TOML has no nothing, and no tuples."""
    if isinstance(value, Mapping):
        return {k: _told(v) for k, v in value.items() if v is not None}
    return [_told(one) for one in value] if isinstance(value, list | tuple) else value


def _lines(table: Mapping[str, Any], name: str = "") -> Iterator[str]:
    """Plain values first, then tables, then lists of tables, as TOML asks for."""
    given = {key: value for key, value in table.items() if value is not None}
    for key, value in given.items():
        if not _is_table(value):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in given.items():
        inner = f"{name}.{_key(key)}" if name else _key(key)
        if isinstance(value, Mapping):
            plain = any(one is not None and not _is_table(one) for one in value.values())
            yield from ("", f"[{inner}]") if plain or not value else ()
            yield from _lines(value, inner)
        elif _is_table(value):
            for one in value:
                yield from ("", f"[[{inner}]]", *_lines(one, inner))


def _is_table(value: Any) -> bool:
    """A table or a list of some."""
    some = isinstance(value, list | tuple) and bool(value)
    return isinstance(value, Mapping) or (some and isinstance(value[0], Mapping))


def _key(text: str) -> str:
    bare = text.isascii() and text.replace("_", "").replace("-", "").isalnum()
    return text if bare else _value(text)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):  # a TOML text is a JSON one, but for one character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
