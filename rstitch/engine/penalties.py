"""What a request's bias and penalties do to a distribution before a token is drawn from it.

OpenAI's law: with c the number of times that the answer so far has token j,

    logit[j] + bias[j] - presence_penalty * (c > 0) - frequency_penalty * c

Who wrote the answer's tokens does not matter. Entropy, log-probabilities and whatever a policy
reads stay those of the raw distribution, so that a bias moves no hand-off by itself.
"""

from __future__ import annotations

from collections.abc import Sequence as Many

import torch
from torch import Tensor

from rstitch.engine.sequence import Sequence
from rstitch.types import Side


def shifted(logp: Tensor, rows: Many[Sequence], side: Side) -> Tensor:
    """Log-probabilities (rows, V) as they are drawn from, unnormalised; itself where no row has a
    bias or a penalty."""
    at, ids, values = list[int](), list[int](), list[float]()
    for i, row in enumerate(rows):
        if row.request.sampling.shifts:
            found = _shifts(row, side)
            at += [i] * len(found)
            ids += found
            values += found.values()
    if not ids:
        return logp
    where = torch.tensor(at, device=logp.device), torch.tensor(ids, device=logp.device)
    return logp.index_put(where, torch.tensor(values, device=logp.device), accumulate=True)


def _shifts(row: Sequence, side: Side) -> dict[int, float]:
    """What is added, by token of that side."""
    asked, found = row.request.sampling, dict[int, float]()
    if asked.presence_penalty or asked.frequency_penalty:
        presence, frequency = asked.presence_penalty, asked.frequency_penalty
        found = {token: -presence - frequency * n for token, n in row.used(side).items()}
    for token, value in asked.logit_bias:
        ours: int | None = token
        if row.translation is not None:
            ours = row.translation.read(side, token, row.reader)
        if ours is not None:
            found[ours] = found.get(ours, 0.0) + value
    return found
