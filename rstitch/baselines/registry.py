"""From a name to a baseline, so that an evaluation can be told `--method NAME`."""

from __future__ import annotations

from typing import Any

from rstitch.baselines.base import Baseline
from rstitch.registry import Registry

REGISTRY: dict[str, str] = {
    "speculative": "rstitch.baselines.speculative:Speculative",
    "gated-speculative": "rstitch.baselines.gated:GatedSpeculative",
    "early-exit": "rstitch.baselines.early_exit:EarlyExit",
}

BASELINES: Registry[Baseline] = Registry(
    kind="baseline",
    base=Baseline,  # type: ignore[type-abstract]  # only its subclasses are made
    needs="write",
    group="rstitch.baselines",
    built_in=REGISTRY,
    given_with="as the baseline",
)


def make(name: str, **params: Any) -> Baseline:
    """The baseline of that name. Raises BadRequest naming an unknown name or parameter."""
    return BASELINES.build(BASELINES.find(name), name, params)
