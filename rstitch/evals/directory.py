"""A run is a directory: what was asked, and a line for everything that is finished.

    config.json      the resolved configuration, versions, hardware and hashes of the models
    records.jsonl    one JSON line per finished (method, problem, sample), with its traces

It can be killed at any moment and taken up again. A torn last line is owed again; a changed
configuration is refused; a full disk leaves whole lines and says so.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from rstitch.errors import BadRun
from rstitch.files import published

VERSION = 1
CONFIG, RECORDS = "config.json", "records.jsonl"
SCORES = ("tokens", "sides", "slm", "llm")
"""What a record of scores has for every position."""


@dataclass
class Run:
    """An open run; nobody else can open it meanwhile."""

    path: Path
    config: dict[str, Any]
    records: list[dict[str, Any]] = field(default_factory=list)
    """What was finished before, then what `add` adds; without traces, which may fill a memory."""
    _file: int = -1

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def add(self, record: dict[str, Any]) -> None:
        """Write a line, whole or not at all. Raises BadRun where there is no room."""
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        rest = line.encode(errors="replace") + b"\n"
        end = os.fstat(self._file).st_size
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            os.ftruncate(self._file, end)
            raise BadRun(
                f"{self.path / RECORDS} cannot be written: {error.strerror}; what was finished is "
                "kept: make room and give the same command again"
            ) from error
        self.records.append(light(record))


def begin(path: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """The configuration of the run that is there already; None where there is none.

    Raises BadRun for a directory that is something else, or was begun with other values.
    """
    if _is_new(path):
        return None
    config = read_config(path)
    wanted = json.loads(json.dumps(asked))
    for key, before, now in differing(config["asked"], wanted):
        raise BadRun(
            f"--out {path} was begun with {key} = {json.dumps(before)}, now it is "
            f"{json.dumps(now)}; give the same to go on, or another directory"
        )
    return config


def check(path: Path) -> None:
    """Raise BadRun for a place where no run can be, before anything else is done."""
    if not _is_new(path):
        read_config(path)
    writable(path)


def writable(path: Path) -> None:
    """Raise BadRun where no directory of that name can be made or written in."""
    place = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not place.is_dir():
        raise BadRun(f"--out {path} cannot be written: {place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise BadRun(f"--out {path} cannot be written: {place} is not yours to write in")


def claim(path: Path, name: str = RECORDS) -> int:
    """Keep others from beginning a run there, or going on with it, until the file is closed. name:
    of the file that says so.

    Raises BadRun where another has it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = os.open(path / name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise BadRun(f"--out {path} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise BadRun(f"{path} is being run by another process; wait for it") from None
    return file


def create(path: Path, asked: Mapping[str, Any], methods: Mapping[str, Any]) -> None:
    """Write the configuration of a new run; whole or not at all, and never over another."""
    config = {"version": VERSION, "asked": dict(asked), "methods": dict(methods)}
    try:
        path.mkdir(parents=True, exist_ok=True)
        with published(path / CONFIG) as partial:
            partial.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    except FileExistsError as error:
        raise BadRun(f"--out {path} has become a run meanwhile; give the command again") from error
    except OSError as error:
        raise BadRun(f"--out {path} cannot be written: {error.strerror}") from error


def opened(path: Path, file: int | None = None) -> Run:
    """The run to go on with, of a file that `claim` gave. Cuts off a torn last line. Raises BadRun
    where another has it."""
    config = read_config(path)
    file = claim(path) if file is None else file
    try:
        os.ftruncate(file, _whole(path / RECORDS))
        return Run(path, config, [light(record) for record in read_records(path)], file)
    except BaseException:
        os.close(file)
        raise


def read_config(path: Path) -> dict[str, Any]:
    """Raises BadRun where there is none that this version reads."""
    try:
        config: dict[str, Any] = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        if config["version"] != VERSION:
            raise ValueError(f"version {config['version']}, this rstitch reads {VERSION}")
        if not isinstance(config["asked"], dict) or not isinstance(config["methods"], dict):
            raise ValueError("no configuration")
    except OSError as error:
        raise BadRun(f"{path} is no run: {CONFIG}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise BadRun(f"{path / CONFIG} cannot be read ({error}); name another directory") from error
    return config


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines, in order; a torn last one is left out. Raises BadRun naming a broken one."""
    file = path / RECORDS
    if not file.exists():
        return
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
                record["type"]
            except (ValueError, LookupError, TypeError):
                raise BadRun(
                    f"{file}, line {number}: not a record; delete that line, and it is owed again"
                ) from None
            yield record


def light(record: dict[str, Any]) -> dict[str, Any]:
    """Without the traces, or what there is at every position, for the many of a whole run."""
    heavy = SCORES if record["type"] == "scores" else ("traces",)
    return {key: value for key, value in record.items() if key not in heavy}


def _is_new(path: Path) -> bool:
    """Whether nothing is there but what a run leaves that has not begun. Raises BadRun for what is
    no run."""
    if not path.exists():
        return True
    if not path.is_dir():
        raise BadRun(f"--out {path} is a file; name a directory")
    if (path / CONFIG).is_file():
        return False
    try:
        there = list(path.iterdir())
    except OSError as error:
        raise BadRun(f"--out {path} cannot be read: {error.strerror}") from error
    for one in there:
        claimed = one.name == RECORDS and one.stat().st_size == 0
        if not claimed and not one.name.startswith(f".{CONFIG}."):
            raise BadRun(f"--out {path} holds files but no {CONFIG}, so it is no run; name another")
    return True


def _whole(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    with path.open("rb") as file:
        size = found = 0
        for line in file:
            size += len(line)
            found = size if line.endswith(b"\n") else found
    return found


def differing(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, value before, value now) of everything that is not the same."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*before, *now]):
            yield from differing(before.get(name), now.get(name), f"{key}.{name}".lstrip("."))
    elif before != now:
        yield key, before, now
