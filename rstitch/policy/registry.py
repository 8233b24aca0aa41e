"""From a name to a policy class: built in, installed (entry points), or `path.py:Class`.

A file is code, so it is run only where a user names it, never because a trace does.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from rstitch.errors import BadRequest
from rstitch.policy.base import Policy

GROUP = "rstitch.policies"
"""Entry points that other packages declare: name = "module:Class"."""

REGISTRY: dict[str, str] = {
    "entropy": "rstitch.policy.entropy:EntropyThreshold",
    "confidence": "rstitch.policy.confidence:Confidence",
    "margin": "rstitch.policy.margin:Margin",
    "window": "rstitch.policy.window:Window",
    "hysteresis": "rstitch.policy.hysteresis:Hysteresis",
    "phase": "rstitch.policy.phase:PerPhase",
    "rewind": "rstitch.policy.rewind:Rewind",
    "slm": "rstitch.policy.alone:SLMAlone",
    "llm": "rstitch.policy.alone:LLMAlone",
    "random": "rstitch.policy.twostate:TwoState",
}


def is_file(name: str) -> bool:
    """Whether a name means a file, `path.py:Class`, rather than a known policy."""
    return ".py:" in name or name.endswith(".py")


def find(name: str) -> type[Policy]:
    """The built-in or installed class of that name."""
    if name in REGISTRY:
        module, attribute = REGISTRY[name].split(":")
        built_in: type[Policy] = getattr(import_module(module), attribute)
        return built_in
    installed = {point.name: point for point in entry_points(group=GROUP)}
    if name in installed:
        return _installed(installed[name])
    known = sorted({*REGISTRY, *installed})
    if is_file(name):
        raise BadRequest(f"policy {name!r} is a file's; give that file with --policy path.py:Class")
    raise BadRequest(f"unknown policy {name!r}; known: {', '.join(known)}, or path.py:Class")


def is_known(name: str) -> bool:
    """Whether a policy of that name is built in or installed."""
    return name in REGISTRY or name in entry_points(group=GROUP).names


def from_file(name: str) -> type[Policy]:
    """The class that `path.py:Class` names. Runs the file, once per version of it."""
    path, colon, attribute = name.rpartition(":")
    if not colon or not attribute:
        raise BadRequest(f"policy {name!r} names no class; write it as path.py:Class")
    if not Path(path).is_file():
        raise BadRequest(f"policy {name!r}: there is no file {path}")
    return _from_file(name, path, attribute, Path(path).stat().st_mtime_ns)


def build(policy: type[Policy], name: str, params: dict[str, Any]) -> Policy:
    """An object of that class. Raises BadRequest naming a parameter that is unknown or missing."""
    fields = dataclasses.fields(policy)  # type: ignore[arg-type]  # checked where it was found
    known = [field.name for field in fields]
    takes = f"it takes {', '.join(known)}" if known else "it takes none"
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise BadRequest(f"policy {name!r} has no parameter {unknown[0]!r}; {takes}")
    missing = [field.name for field in fields if is_needed(field) and field.name not in params]
    if missing:
        raise BadRequest(f"policy {name!r} needs a value for {missing[0]!r}; {takes}")
    try:
        return policy(**params)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"policy {name!r} cannot be made: {error}") from error


def is_needed(field: dataclasses.Field[Any]) -> bool:
    """Whether a parameter has no default."""
    nothing = dataclasses.MISSING
    return field.default is nothing and field.default_factory is nothing


def _installed(point: EntryPoint) -> type[Policy]:
    try:
        loaded = point.load()
    except Exception as error:  # another package's code, which may fail in any way
        raise BadRequest(
            f"policy {point.name!r} of {point.value} cannot be imported: {_line(error)}"
        ) from error
    return _checked(loaded, point.name, point.value)


@lru_cache(maxsize=64)
def _from_file(name: str, path: str, attribute: str, version: int) -> type[Policy]:
    module = _run(name, Path(path))
    if not hasattr(module, attribute):
        raise BadRequest(f"policy {name!r}: {path} has no class {attribute}")
    return _checked(getattr(module, attribute), name, name)


def _run(name: str, path: Path) -> ModuleType:
    spec = spec_from_file_location(f"rstitch_policy_{path.stem}", path)
    assert spec is not None and spec.loader is not None, path
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up there
    try:
        spec.loader.exec_module(module)
    except BadRequest as error:
        raise BadRequest(f"policy {name!r}: {error}") from error
    except Exception as error:  # a user's code, which may fail in any way
        raise BadRequest(f"policy {name!r}: {path} cannot be run: {_line(error)}") from error
    return module


def _checked(found: Any, name: str, origin: str) -> type[Policy]:
    """The class under the name by which it was asked for, which its traces will say."""
    if not (isinstance(found, type) and issubclass(found, Policy)):
        raise BadRequest(f"policy {name!r}: {origin} is no subclass of rstitch.policy.base.Policy")
    if inspect.isabstract(found):
        raise BadRequest(f"policy {name!r}: {origin} does not define decide()")
    if not dataclasses.is_dataclass(found):
        raise BadRequest(f"policy {name!r}: {origin} lacks the line @dataclass(frozen=True)")
    return _named(found, name)


@lru_cache(maxsize=256)
def _named(found: type[Policy], name: str) -> type[Policy]:
    """A class of its own, so that one class found under two names keeps both."""
    if found.__dict__.get("name") == name:
        return found
    body = {"name": name, "__slots__": (), "__module__": found.__module__, "__doc__": found.__doc__}
    return type(found.__name__, (found,), body)


def _line(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
