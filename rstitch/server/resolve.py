"""From a file, the environment and flags to one configuration whose values know their origin."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstitch.errors import BadRequest
from rstitch.server.checks import nearest
from rstitch.server.config import TABLES, ServerConfig, known
from rstitch.server.settings import Setting, written

PREFIX = "RSTITCH_"
CONFIG, API_KEYS = "RSTITCH_CONFIG", "RSTITCH_API_KEYS"
"""Variables that are no settings: the file's path where --config is not given, and the secrets."""
DEFAULT = "default"
LINKED = (
    "Kubernetes sets that for a service called rstitch; set enableServiceLinks to false in the "
    "pod, or call the service something else"
)

Given = dict[str, tuple[Any, str]]
"""From a setting's name to its value and origin."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The configuration, and who said what."""

    config: ServerConfig
    origins: Mapping[str, str]
    """By setting: "default", the file's path, the variable or the flag."""

    def toml(self) -> str:
        """What --print-config prints; as a file it gives the same configuration again."""
        lines: list[str] = []
        table = ""
        for setting in known().values():
            if setting.table != table:
                table = setting.table
                lines += ["", f"[{table}]"]
            lines.append(self._line(setting))
        return "\n".join(lines).lstrip() + "\n"

    def _line(self, setting: Setting) -> str:
        value, origin = self.config.value(setting), self.origins[setting.name]
        if value is None:  # TOML has no word for it
            return f"# {setting.name} is not set"
        told = "" if origin == DEFAULT else f"  # {' '.join(origin.split())}"
        return f"{setting.name} = {written(value)}{told}"


def load(
    file: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Resolved:
    """Resolve them: a flag before a variable before the file before the default.

    flags: by setting, those that were used; None is one that was not. Raises BadRequest that names
    what is unknown (with the nearest known name) or wrong, where it stands, and the remedy.
    """
    environ = environ or {}
    file = file or environ.get(CONFIG)
    given = _of_file(file) if file else {}
    given |= _of_environment(environ)
    given |= _of_flags(flags or {})
    values: dict[str, dict[str, Any]] = {table: {} for table in TABLES}
    for name, (value, _) in given.items():
        values[known()[name].table][name] = value
    try:
        config = ServerConfig(**{t: make(**values[t]) for t, make in TABLES.items()})
    except BadRequest as error:  # its first word is the setting
        _, origin = given.get(str(error).split()[0], (None, ""))
        raise BadRequest(f"{origin}: {error}" if origin else str(error)) from None
    return Resolved(config, {name: given.get(name, ("", DEFAULT))[1] for name in known()})


def _of_file(path: str) -> Given:
    given: Given = {}
    for table, content in _parsed(path).items():
        for name, value in _entries(path, table, content):
            given[name] = _value(known()[name].read, name, value, path), path
    return given


def _parsed(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequest(f"config is {path}, which cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"{path} is no TOML file: {error}") from None


def _entries(path: str, table: str, content: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of a table; every name is known and belongs there."""
    if not isinstance(content, dict):
        where = (
            f"it belongs under [{known()[table].table}]"
            if table in known()
            else nearest(table, known())
        )
        raise BadRequest(f"{path}: {table!r} stands outside of a table; {where}")
    if table not in TABLES:
        raise BadRequest(f"{path}: unknown table [{table}]; {nearest(table, TABLES)}")
    own = [name for name, one in known().items() if one.table == table]
    for name, value in content.items():
        if name not in own:
            elsewhere = known().get(name)
            where = f"it belongs under [{elsewhere.table}]" if elsewhere else nearest(name, known())
            raise BadRequest(f"{path}: [{table}] has no setting {name!r}; {where}")
        yield name, value


def _of_environment(environ: Mapping[str, str]) -> Given:
    variables = {one.variable: one.name for one in known().values()}
    given: Given = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in (CONFIG, API_KEYS):
            continue
        if "_SERVICE_" in variable or text.startswith("tcp://"):
            raise BadRequest(f"{variable} is {text!r}; {LINKED}")
        if variable not in variables:
            near = nearest(variable, [*variables, CONFIG, API_KEYS])
            raise BadRequest(f"unknown variable {variable}; {near}")
        name = variables[variable]
        setting = known()[name]
        empty = setting.optional and not text.strip()
        value = None if empty else _value(setting.parse, name, text, variable)
        given[name] = value, variable
    return given


def _of_flags(flags: Mapping[str, Any]) -> Given:
    given: Given = {}
    for name, value in flags.items():
        if name not in known():
            raise BadRequest(f"unknown option {name!r}; {nearest(name, known())}")
        if value is None:
            continue
        setting = known()[name]
        read = setting.parse if isinstance(value, str) else setting.read
        given[name] = _value(read, name, value, setting.flag), setting.flag
    return given


def _value(read: Callable[[Any], Any], name: str, value: Any, origin: str) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise BadRequest(f"{origin}: {name} is {value!r}; it must be {error}") from None
