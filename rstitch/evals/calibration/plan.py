"""What a calibration is asked for, apart from the pair: prompts, taus, time, a bound to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rstitch.errors import BadRequest
from rstitch.evals.calibration import bound
from rstitch.evals.calibration.prompts import Prompts
from rstitch.evals.methods.base import Question
from rstitch.evals.seeds import seed_of
from rstitch.evals.task import Problem, fingerprint
from rstitch.types import Sampling

TAUS = (0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class Bound:
    """What is to be shown of a tau: that it loses less than `within`, with that confidence."""

    within: float = 0.01
    """Share of prompts: right answers of the LLM alone, less those of the pair."""
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.within < 1:
            raise BadRequest(
                f"--within is {self.within:g}; it must be a share of prompts above 0 and below 1, "
                "such as 0.01"
            )
        if not 0.5 <= self.confidence < 1:
            raise BadRequest(
                f"--confidence is {self.confidence:g}; it must be from 0.5 on and below 1"
            )


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured, apart from the pair."""

    prompts: Prompts
    taus: tuple[float, ...] = TAUS
    """Normalised."""
    sampling: Sampling = Sampling()
    max_tokens: int = 512
    seed: int = 0
    minutes: float | None = 10.0
    """For all of it; None is as long as it takes."""
    bound: Bound | None = None
    """With answers: what is to be shown, by testing from the smallest tau upwards."""

    def __post_init__(self) -> None:
        for tau in self.taus:
            if not 0 <= tau <= 1:
                raise BadRequest(f"--taus has {tau:g}; each must be from 0 to 1")
        if not self.taus or len(set(self.taus)) < len(self.taus):
            raise BadRequest("--taus must be at least one number, and none twice")
        if self.minutes is not None and not self.minutes > 0:
            raise BadRequest(f"--minutes is {self.minutes:g}; it must be above 0")
        if self.bound is not None:
            _check_size(self.bound, self.prompts)

    def asked(self) -> dict[str, Any]:
        """What must be the same for a run to be gone on with. taus are part of a bound, and of that
        alone: more of them chosen after looking would void it."""
        values = {k: v for k, v in self.sampling.as_dict().items() if k != "seed"}
        fixed = {**asdict(self.bound), "taus": sorted(self.taus)} if self.bound else None
        return {
            "prompts": fingerprint(self.prompts.problems),
            "problems": len(self.prompts.problems),
            "sampling": values,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "bound": fixed,
        }

    def question(self, problem: Problem) -> Question:
        """With a seed of its own, the same for every tau."""
        seed = seed_of(self.seed, problem.id)
        return Question(0, problem.text, replace(self.sampling, seed=seed), self.max_tokens)


def spread_order(taus: Sequence[float]) -> list[float]:
    """The middle, the ends, then the middle of the widest gap: stopped anywhere, it is a curve."""
    grid = sorted(taus)
    chosen = [len(grid) // 2, 0, len(grid) - 1]
    order = list(dict.fromkeys(chosen))
    while len(order) < len(grid):
        known = sorted(order)
        gaps = [(b - a, -a) for a, b in zip(known, known[1:], strict=False)]
        width, at = max(gaps)
        order.append(-at + width // 2)
    return [grid[i] for i in order]


def _check_size(limits: Bound, prompts: Prompts) -> None:
    least, n = bound.fewest(limits.within, limits.confidence), len(prompts.problems)
    if n < least:
        raise BadRequest(
            f"{n} prompts cannot show a loss below {limits.within:g} with confidence "
            f"{limits.confidence:g}: it takes {least} even if no answer changes; give more, or a "
            "wider --within"
        )
