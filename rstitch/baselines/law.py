"""What one request draws from, and its draws: the same for drafts, the LLM's own tokens and trials.

Draws are counter-based like the engine's, so a draw of the LLM is the one it would make alone. A
position may need more than one draw (a draft, then another token in its place), and these must be
independent: each kind has a stream of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rstitch import sampling
from rstitch.sampling import Filters
from rstitch.types import Sampling, Side

REPLACEMENT = 0x7265706C  # "repl": what is drawn where a draft was rejected
TRIAL = 0x74726961  # "tria": tokens of a trial answer, beside those of the thought that goes on


class Law:
    """Temperature, filters and noise of one request."""

    def __init__(self, settings: Sampling, vocab_size: int) -> None:
        """`settings` has a seed."""
        assert settings.seed is not None
        self.settings, self.vocab_size, self.seed = settings, vocab_size, settings.seed

    @property
    def greedy(self) -> bool:
        return self.settings.temperature == 0

    def logs(self, logits: Tensor) -> Tensor:
        """Raw logits (rows, columns) as unnormalised logs of what is drawn from: (rows, V)."""
        if self.greedy:
            return logits[:, : self.vocab_size]
        logp = sampling.log_probs(logits, self.vocab_size)
        given, rows, device = self.settings, len(logp), logp.device
        if not given.top_k and given.top_p >= 1 and not given.min_p:  # nothing to sort for
            return (logp - logp.max(-1, keepdim=True).values) / max(given.temperature, 1e-30)
        filters = Filters(
            temperature=torch.full((rows,), given.temperature, device=device),
            top_k=torch.full((rows,), given.top_k or self.vocab_size, device=device),
            top_p=torch.full((rows,), given.top_p, device=device),
            min_p=torch.full((rows,), given.min_p, device=device),
        )
        return sampling.filtered(logp, filters)

    def draw(self, logs: Tensor, position: int, stream: int = 0) -> int:
        """The token at that position of the answer, from `logs` (V,)."""
        if not self.greedy:
            logs = logs + sampling.gumbel(*self._counters([position], logs), len(logs), stream)[0]
        return int(logs.argmax())

    def coins(self, first: int, like: Tensor) -> Tensor:
        """Uniform numbers in [0, 1), one for each row of `like`, whose positions start at first."""
        positions = list(range(first, first + len(like)))
        return sampling.coins(*self._counters(positions, like), Side.LLM)

    def _counters(self, positions: list[int], like: Tensor) -> tuple[Tensor, Tensor]:
        at = torch.tensor(positions, device=like.device)
        return torch.full_like(at, self.seed), at
