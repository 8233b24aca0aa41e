"""Every failure that a user can cause or mend, as one line that names the value and the remedy.

The command line prints these without a traceback; anything else that escapes is our bug.
"""

from __future__ import annotations


class RStitchError(Exception):
    """Base of all errors meant for users."""


class BadRequest(RStitchError):
    """A request or option that cannot be honoured: a wrong value, a prompt that does not fit."""


class Closed(BadRequest):
    """The engine has been closed: nothing is written any more."""


class BadModel(RStitchError):
    """A model directory that cannot be loaded: missing, truncated, pickled, unsupported."""


class BadPair(RStitchError):
    """Two models that cannot be stitched: their vocabularies differ."""


class BadPolicy(RStitchError):
    """A policy that broke its promise while running, such as discarding a token to its own side."""


class BadTrace(RStitchError):
    """A trace file that cannot be read, or whose decisions the policy does not reproduce."""


class BadRun(RStitchError):
    """An evaluation run that cannot be begun, resumed or read: its directory says why."""


class OutOfMemory(RStitchError):
    """A pass needed more memory than there was: its requests ended, the engine goes on."""


class SideLost(RStitchError):
    """A model cannot be run any more; what needs it ends, and is refused from then on."""
