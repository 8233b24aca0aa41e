"""Ways to answer by name, any policy among them: `rstitch.registry` says how one is found."""

from __future__ import annotations

from typing import Any

from rstitch.baselines.registry import BASELINES
from rstitch.errors import BadRequest
from rstitch.evals.methods.base import Method
from rstitch.evals.methods.rivals import Rival
from rstitch.evals.methods.ruled import Ruled
from rstitch.evals.methods.typed import typed
from rstitch.policy import REGISTRY as POLICIES
from rstitch.policy import find_or_run, load
from rstitch.policy.registry import is_known
from rstitch.registry import Registry, is_file

_HERE = "rstitch.evals.methods"

METHODS: Registry[Method] = Registry(
    kind="method",
    base=Method,  # type: ignore[type-abstract]  # only its subclasses are made
    needs="write",
    group="rstitch.methods",
    built_in={
        "stitched": f"{_HERE}.ruled:Stitched",
        "brief": f"{_HERE}.ruled:Brief",
        "opening": f"{_HERE}.opening:Opening",
        "vote": f"{_HERE}.vote:Vote",
        "cascade": f"{_HERE}.cascade:Cascade",
        "coin": f"{_HERE}.controls:Coin",
        "two-state": f"{_HERE}.controls:TwoState",
        "elsewhere": f"{_HERE}.controls:Elsewhere",
        "requests": f"{_HERE}.controls:Requests",
        "transformers-generate": f"{_HERE}.rivals:Generate",
        "transformers-assisted": f"{_HERE}.rivals:Assisted",
        "vllm": f"{_HERE}.on_vllm:Vllm",
        "vllm-draft": f"{_HERE}.on_vllm:Draft",
        "vllm-fly": f"{_HERE}.on_vllm:Fly",
    },
    given_with="with --method path.py:Class",
)
CONTROLS = ("coin", "two-state", "elsewhere", "requests")


def make(name: str, **params: Any) -> Method:
    """The method, baseline or policy of that name, or of a path.py:Class, whose code is run."""
    if is_file(name):
        return _of_file(name, params)
    if name in BASELINES.known():
        baseline = BASELINES.find(name)
        return Rival(BASELINES.build(baseline, name, typed(name, baseline, params)))
    if name not in METHODS.known() and is_known(name):
        return _ruled(name, params)
    if name not in METHODS.known():
        known = ", ".join([*METHODS.known(), *BASELINES.known(), *sorted(POLICIES)])
        raise BadRequest(f"unknown method {name!r}; known: {known}, or path.py:Class")
    method = METHODS.find(name)
    return METHODS.build(method, name, typed(name, method, params))


def _of_file(name: str, params: dict[str, Any]) -> Method:
    """A file's class may be a method or a policy; what is wrong with it is told as of a policy."""
    try:
        found = METHODS.from_file(name)
    except BadRequest as error:
        if "is no subclass of" not in str(error):
            raise
        return _ruled(name, params)
    return METHODS.build(found, name, typed(name, found, params))


def _ruled(name: str, params: dict[str, Any]) -> Ruled:
    return Ruled(load(name, **typed(name, find_or_run(name), params)))


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """`vote,k=5` as a name and its parameters: numbers where they are, texts otherwise."""
    name, *rest = text.split(",")
    params: dict[str, Any] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise BadRequest(f"{text!r}: {part!r} is no parameter; write it as name=value")
        params[key.strip()] = _value(value.strip())
    return name.strip(), params


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


__all__ = ["CONTROLS", "METHODS", "Method", "make", "parse"]
