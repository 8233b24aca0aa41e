"""From a name to a baseline, so that an evaluation can be told `--method NAME`."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from typing import Any

from rstitch.baselines.base import Baseline
from rstitch.errors import BadRequest
from rstitch.policy.registry import is_needed

REGISTRY: dict[str, str] = {
    "speculative": "rstitch.baselines.speculative:Speculative",
    "gated-speculative": "rstitch.baselines.gated:GatedSpeculative",
    "early-exit": "rstitch.baselines.early_exit:EarlyExit",
}


def find(name: str) -> type[Baseline]:
    if name not in REGISTRY:
        raise BadRequest(f"unknown baseline {name!r}; known: {', '.join(REGISTRY)}")
    module, attribute = REGISTRY[name].split(":")
    found: type[Baseline] = getattr(import_module(module), attribute)
    return found


def make(name: str, **params: Any) -> Baseline:
    """The baseline of that name. Raises BadRequest naming an unknown name or parameter."""
    found = find(name)
    fields = dataclasses.fields(found)  # type: ignore[arg-type]  # all of the registry are
    known = [field.name for field in fields]
    assert not any(map(is_needed, fields)), "a baseline runs without parameters"
    for param in params:
        if param not in known:
            raise BadRequest(
                f"baseline {name!r} has no parameter {param!r}; it takes {', '.join(known)}"
            )
    return found(**params)
