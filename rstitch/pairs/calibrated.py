"""A calibration belongs to the two models that it was made on, and is refused on others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rstitch.errors import BadPair, BadRequest
from rstitch.pairs import Preset
from rstitch.pairs.hashes import weights
from rstitch.types import Side


def check(known: Preset) -> None:
    """Raise BadPair where a pair file has a calibration and a model is not the one it names: by
    SHA-256 for one in a directory or file, by name and revision for one of the hub.

    Reads the weights once, before anything is loaded.
    """
    if known.calibration is None:
        return
    for side in Side:
        _check_side(known, side, _recorded(known, side))


def _recorded(known: Preset, side: Side) -> Mapping[str, Any]:
    assert known.calibration is not None
    models = known.calibration.get("models")
    found = models.get(side.label) if isinstance(models, dict) else None
    if not isinstance(found, dict) or not isinstance(found.get("sha256"), dict):
        raise BadRequest(
            f"{known.name}.toml, calibration: no hashes of the {side.name}; calibrate again, or "
            "take the [calibration] table out"
        )
    return found


def _check_side(known: Preset, side: Side, recorded: Mapping[str, Any]) -> None:
    one, hashes = known.side(side), recorded["sha256"]
    if Path(one.source).exists():
        here = weights(one.source)
        differing = [name for name in {**hashes, **here} if hashes.get(name) != here.get(name)]
        reason = f"{differing[0]} differs" if differing else ""
    elif one.path:
        return  # its directory is gone, which the loader says better
    else:
        same = (one.source, one.revision) == (recorded.get("source"), recorded.get("revision"))
        reason = "" if same else f"it is from {recorded.get('source')}, {recorded.get('revision')}"
    if reason:
        raise BadPair(
            f"{known.name}.toml was calibrated on another {side.name} than {one.source} "
            f"({reason}); calibrate again for this pair, or name it without the card"
        )
