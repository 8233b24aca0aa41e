"""Other ways to write an answer with the same two models, for comparison: docs/baselines.md."""

from rstitch.baselines.ask import answer, stream
from rstitch.baselines.base import Baseline, Writing, Written
from rstitch.baselines.registry import REGISTRY, make
from rstitch.baselines.work import Kept

__all__ = ["REGISTRY", "Baseline", "Kept", "Writing", "Written", "answer", "make", "stream"]
