"""From a name to a class: built in, installed (entry points), or `path.py:Class`.

One mechanism for everything that others may add without touching this package. A file is code, so
it is run only where a user names it, never because a record does.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from rstitch.errors import BadRequest

T = TypeVar("T")


def is_file(name: str) -> bool:
    """Whether a name means a file, `path.py:Class`, rather than a known class."""
    return ".py:" in name or name.endswith(".py")


@dataclass(frozen=True)
class Registry(Generic[T]):
    """The classes of one kind. Subclasses of `base` are frozen dataclasses of plain values."""

    kind: str
    """The noun in messages: "policy"."""
    base: type[T]
    needs: str
    """The method without which a class is none."""
    group: str
    """Entry points that other packages declare: name = "module:Class"."""
    built_in: Mapping[str, str]
    """name = "module:Class"."""
    given_with: str
    """Where a user names a file."""

    def find(self, name: str) -> type[T]:
        """The built-in or installed class of that name."""
        if name in self.built_in:
            module, attribute = self.built_in[name].split(":")
            return cast(type[T], getattr(import_module(module), attribute))
        installed = {point.name: point for point in entry_points(group=self.group)}
        if name in installed:
            return self._installed(installed[name])
        if is_file(name):
            raise BadRequest(f"{self.kind} {name!r} is a file's; give that file {self.given_with}")
        known = ", ".join(self.known())
        raise BadRequest(f"unknown {self.kind} {name!r}; known: {known}, or path.py:Class")

    def known(self) -> list[str]:
        """Names of what is built in or installed."""
        return sorted({*self.built_in, *entry_points(group=self.group).names})

    def from_file(self, name: str) -> type[T]:
        """The class that `path.py:Class` names. Runs the file, once per version of it."""
        path, colon, attribute = name.rpartition(":")
        if not colon or not attribute:
            raise BadRequest(f"{self.kind} {name!r} names no class; write it as path.py:Class")
        if not Path(path).is_file():
            raise BadRequest(f"{self.kind} {name!r}: there is no file {path}")
        module = _run(self.kind, name, path, Path(path).stat().st_mtime_ns)
        if not hasattr(module, attribute):
            raise BadRequest(f"{self.kind} {name!r}: {path} has no class {attribute}")
        return self._checked(getattr(module, attribute), name, name)

    def find_or_run(self, name: str) -> type[T]:
        """The class of that name; runs a file so named, so only for names that a user gave."""
        return self.from_file(name) if is_file(name) else self.find(name)

    def build(self, found: type[T], name: str, params: dict[str, Any]) -> T:
        """An object of that class. Raises BadRequest naming a parameter unknown or missing."""
        fields = dataclasses.fields(found)  # type: ignore[arg-type]  # checked where it was found
        known = [field.name for field in fields]
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        unknown = sorted(set(params) - set(known))
        if unknown:
            raise BadRequest(f"{self.kind} {name!r} has no parameter {unknown[0]!r}; {takes}")
        missing = [field.name for field in fields if is_needed(field) and field.name not in params]
        if missing:
            raise BadRequest(f"{self.kind} {name!r} needs a value for {missing[0]!r}; {takes}")
        try:
            return found(**params)
        except (TypeError, ValueError) as error:
            raise BadRequest(f"{self.kind} {name!r} cannot be made: {error}") from error

    def _installed(self, point: EntryPoint) -> type[T]:
        try:
            loaded = point.load()
        except Exception as error:  # another package's code, which may fail in any way
            raise BadRequest(
                f"{self.kind} {point.name!r} of {point.value} cannot be imported: {_line(error)}"
            ) from error
        return self._checked(loaded, point.name, point.value)

    def _checked(self, found: Any, name: str, origin: str) -> type[T]:
        """The class under the name by which it was asked for, which its records will say."""
        wrong, base = f"{self.kind} {name!r}: {origin}", self.base
        if not (isinstance(found, type) and issubclass(found, base)):
            raise BadRequest(f"{wrong} is no subclass of {base.__module__}.{base.__qualname__}")
        if inspect.isabstract(found):
            raise BadRequest(f"{wrong} does not define {self.needs}()")
        if not dataclasses.is_dataclass(found):
            raise BadRequest(f"{wrong} lacks the line @dataclass(frozen=True)")
        return cast(type[T], _named(found, name))


def is_needed(field: dataclasses.Field[Any]) -> bool:
    """Whether a parameter has no default."""
    nothing = dataclasses.MISSING
    return field.default is nothing and field.default_factory is nothing


@lru_cache(maxsize=64)
def _run(kind: str, name: str, path: str, version: int) -> ModuleType:
    spec = spec_from_file_location(f"rstitch_{kind}_{Path(path).stem}", path)
    assert spec is not None and spec.loader is not None, path
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up there
    try:
        spec.loader.exec_module(module)
    except BadRequest as error:
        raise BadRequest(f"{kind} {name!r}: {error}") from error
    except Exception as error:  # a user's code, which may fail in any way
        raise BadRequest(f"{kind} {name!r}: {path} cannot be run: {_line(error)}") from error
    return module


@lru_cache(maxsize=256)
def _named(found: type[Any], name: str) -> type[Any]:
    """A class of its own, so that one class found under two names keeps both."""
    if found.__dict__.get("name") == name:
        return found
    body = {"name": name, "__slots__": (), "__module__": found.__module__, "__doc__": found.__doc__}
    return type(found.__name__, (found,), body)


def _line(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
