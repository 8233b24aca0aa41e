"""Random histories of a runner's rows, each pass compared with transformers' own full forward pass.

For any runner of the random pair of `tests.models`: what rows have cached depends on all that came
before, so orders that nobody would write down are tried.
"""

from __future__ import annotations

import random
from typing import Any

import torch

from rstitch.engine.runner import Extend
from rstitch.types import Side
from tests.models import VOCAB, plain_logits
from tests.same import TOLERANCE

LONGEST = 256
ROWS = 6
ACTIONS = {"extend": 5, "truncate": 2, "fork": 1, "open": 1, "free": 0.5}


def differ(got: torch.Tensor, want: torch.Tensor) -> float:
    assert got.shape == want.shape, (got.shape, want.shape)
    return float((got - want).abs().max())


def assert_rows(side: Side, one: Any, model_ids: dict[int, list[int]]) -> None:
    """Every row has cached what it should, by feeding one more token to all at once."""
    one.kv.check_integrity()
    assert {row: one.cached(row) for row in model_ids} == {r: len(i) for r, i in model_ids.items()}
    rows = [row for row, ids in model_ids.items() if len(ids) < LONGEST]
    if rows:
        got = one.extend([Extend(row, [50]) for row in rows])
        for i, row in enumerate(rows):
            off = differ(got[i], plain_logits(side, [*model_ids[row], 50])[-1])
            assert off < TOLERANCE, f"row {row}: off by {off:.1e}"
            one.truncate(row, len(model_ids[row]))


def play(side: Side, one: Any, seed: int, count: int, tolerance: float = TOLERANCE) -> None:
    """That many operations over up to six rows; logits after every fed token, after the last ones,
    or after some of each row."""
    pick, ids = random.Random(seed), dict[int, list[int]]()
    for _ in range(count):
        action = pick.choices(list(ACTIONS), list(ACTIONS.values()))[0]
        if action == "extend" and ids:
            _extend(side, one, pick, ids, tolerance)
        elif action == "truncate" and ids:
            row = pick.choice(sorted(ids))
            del ids[row][pick.randint(0, len(ids[row])) :]
            one.truncate(row, len(ids[row]))
        elif action == "fork" and 0 < len(ids) < ROWS:
            row = pick.choice(sorted(ids))
            n = pick.randint(0, len(ids[row]))
            ids[one.fork(row, n)] = ids[row][:n]
        elif action == "free" and ids:
            row = pick.choice(sorted(ids))
            one.free(row)
            del ids[row]
        elif len(ids) < ROWS:
            ids[one.open()] = []
        one.kv.check_integrity()
    assert_rows(side, one, ids)
    for row in ids:
        one.free(row)
    one.kv.check_integrity()
    assert one.kv.length == {}


def _extend(
    side: Side, one: Any, pick: random.Random, ids: dict[int, list[int]], tolerance: float
) -> None:
    longest, fed = pick.choice([1, 1, 5, 16, 40]), list[Extend]()
    for row in pick.sample(sorted(ids), pick.randint(1, len(ids))):
        count = min(pick.randint(1, longest), LONGEST - len(ids[row]))
        if count:
            fed.append(Extend(row, [pick.randrange(VOCAB) for _ in range(count)]))
            ids[row] = [*ids[row], *fed[-1].tokens]
    if not fed:
        return
    wanted = pick.choice(["all", "last", "some"])
    counts = {
        "all": [len(item.tokens) for item in fed],
        "last": [1] * len(fed),
        "some": [pick.randint(1, len(item.tokens)) for item in fed],
    }[wanted]
    got = one.extend(fed, logits=counts if wanted == "some" else wanted)
    want = [plain_logits(side, ids[i.row])[-n:] for i, n in zip(fed, counts, strict=True)]
    off = differ(got, torch.cat(want))
    assert off < tolerance, f"{wanted} of {fed}: off by {off:.1e}"
