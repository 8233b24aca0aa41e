"""A trained policy belongs to the two models that it was trained on, and is refused on others."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstitch.errors import BadPair
from rstitch.pairs.hashes import weights
from rstitch.policy import Policy
from rstitch.types import Side

if TYPE_CHECKING:
    from rstitch.engine.loader import LoadedModel


def models_of(models: Mapping[Side, LoadedModel]) -> dict[str, Any]:
    """Side label to source, revision and sha256, as `check` compares them."""
    return {
        side.label: {
            "source": _told(one.source),
            "revision": one.revision,
            "sha256": dict(_hashes(one.source, one.revision)),
        }
        for side, one in sorted(models.items())
    }


def check(policy: Policy, models: Mapping[Side, LoadedModel]) -> None:
    """Raise BadPair where a policy was made for other models: by SHA-256 for those in directories
    or files, by name and revision for those of the hub. Hashes are made once per process."""
    card = policy.made_for()
    if card is None:
        return
    here = models_of({side: one for side, one in models.items() if side in policy.sides()})
    for label, found in here.items():
        made = card["models"].get(label)
        made = made if isinstance(made, Mapping) else {}
        reason = _differs(made, found)
        if reason:
            raise BadPair(
                f"{card['what']} was trained for another {label.upper()} than "
                f"{models[Side[label.upper()]].source} ({reason}); train one for this pair with "
                "rstitch train-router, and name it with file="
            )


def _differs(made: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """What is another than it was; empty where nothing is."""
    before, now = made.get("sha256") or {}, found["sha256"]
    if before or now:
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        return f"{names[0]} differs" if names else ""
    said, is_now = (f"{one.get('source')}, {one.get('revision')}" for one in (made, found))
    return "" if said == is_now else f"it is {said}"


def _told(source: str) -> str:
    """A directory by its name alone: where it lies on a machine is nobody's business."""
    return Path(source).name if Path(source).exists() else source


@lru_cache(maxsize=16)
def _hashes(source: str, revision: str | None) -> tuple[tuple[str, str], ...]:
    return tuple(weights(source, revision).items())
