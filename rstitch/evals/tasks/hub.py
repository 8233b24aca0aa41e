"""Problem sets of the hub, read through `datasets`, which is imported when one is asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

from rstitch.errors import BadRequest
from rstitch.evals.task import BOXED, Problem, Task


class HubSet(Task):
    """A public set: where it lies, and what a row of it means."""

    source: ClassVar[str]
    """Its repository on the hub."""
    config: ClassVar[str | None] = None
    split: ClassVar[str] = "test"
    instruction: ClassVar[str] = BOXED

    @abstractmethod
    def row(self, row: Mapping[str, Any]) -> tuple[str, str, str]:
        """(question, answer, group) of a row."""

    def problems(self) -> Sequence[Problem]:
        found = []
        for index, row in enumerate(rows(self.source, self.config, self.split)):
            try:
                question, answer, group = self.row(row)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise BadRequest(
                    f"{self.source}, row {index}: not as {self.name} expects it ({error!r}); the "
                    "set has changed: give its rows as a file of JSON lines"
                ) from error
            text = f"{question}\n\n{self.instruction}" if self.instruction else question
            found.append(Problem(f"{self.name}-{index}", text, answer, group))
        return found


def rows(source: str, config: str | None, split: str) -> Iterable[Mapping[str, Any]]:
    """Raises BadRequest where `datasets` is missing or the set cannot be had."""
    if find_spec("datasets") is None:
        raise BadRequest(
            f"{source} is read with datasets, which is not installed: pip install rstitch[eval], "
            "or give a file of JSON lines"
        )
    datasets = import_module("datasets")
    datasets.disable_progress_bars()
    try:
        loaded: Iterable[Mapping[str, Any]] = datasets.load_dataset(source, config, split=split)
    except Exception as error:  # the library raises what its own libraries do
        raise BadRequest(_reason(source, error)) from error
    return loaded


def _reason(source: str, error: Exception) -> str:
    names = {kind.__name__ for cause in _chain(error) for kind in type(cause).__mro__}
    if "GatedRepoError" in names:
        return (
            f"{source} is gated on the hub; accept its terms on its page there, then log in with "
            "`hf auth login` or set HF_TOKEN"
        )
    if names & {
        "ConnectionError",
        "OfflineModeIsEnabled",
        "TransportError",
        "LocalEntryNotFoundError",
    }:
        return (
            f"{source} cannot be had: no hub in reach and it is not in the cache; "
            f"`hf download --repo-type dataset {source}` where there is a network, or give a file "
            "of JSON lines"
        )
    line = (str(error).splitlines() or [""])[0]
    return f"{source} cannot be read from the hub: {type(error).__name__}: {line}"


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__
    return seen
