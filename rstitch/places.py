"""Where an exception was raised: what a log may tell, since no message of it is repeated."""

from __future__ import annotations

import traceback


class Elsewhere(Exception):
    """Stands for the cause of an error that another process has raised; a traceback stays there."""

    def __init__(self, places: tuple[str, ...]) -> None:
        super().__init__("raised in another process")
        self.places = places


def places(error: BaseException) -> list[str]:
    """File, line and function of each frame, the innermost last; of the first cause too."""
    frames = traceback.extract_tb(error.__traceback__)
    found = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    cause = error.__cause__
    if isinstance(cause, Elsewhere):
        return [*found, "in the engine's process", *cause.places]
    return [*found, f"caused by {type(cause).__name__}", *places(cause)] if cause else found
