"""What only a GPU can show: the kernels as compiled, graphs as captured. Asked for with `-m gpu`.

Each of these has a twin that runs everywhere (test_paged_attention, test_fused, test_static).
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from rstitch.engine.batch import Span
from rstitch.engine.dense import Extra
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.forward import choose
from rstitch.engine.fused import reference as between
from rstitch.engine.fused.forward import FusedForward, fuse
from rstitch.engine.fused.ops import Heads
from rstitch.engine.paged import reference
from rstitch.engine.paged.batch import PagedBatch
from rstitch.engine.paged.memory import PagedKV
from rstitch.engine.static.blocks import Blocks
from rstitch.engine.torch_runner import TorchRunner
from rstitch.types import Side
from tests import models
from tests.engine.test_fused import made
from tests.engine.test_laws import POLICIES, SAMPLINGS, ask
from tests.models import EOS, VOCAB, run
from tests.same import assert_same_answers

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
]
NEAR = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}
BATCHES = {
    "decode": [Span(0, 2000, 1)],
    "decode of several": [Span(i, 100 * i + 1, 1) for i in range(5)],
    "catch-ups": [Span(0, 700, 5), Span(1, 0, 17), Span(3, 1000, 1), Span(2, 31, 64)],
    "prefill": [Span(0, 0, 1500), Span(2, 140, 1)],
}
EXTRAS = {
    "plain": Extra(128**-0.5),
    "window": Extra(128**-0.5, window=100),
    "softcap": Extra(128**-0.5, softcap=20.0),
}


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("spans", BATCHES)
@pytest.mark.parametrize(("heads", "kv_heads"), [(12, 2), (28, 4), (40, 8)])
def test_attention(spans: str, extra: str, heads: int, kv_heads: int, dtype: torch.dtype) -> None:
    from rstitch.engine.paged import kernels

    torch.manual_seed(0)
    device, rows = torch.device("cuda"), BATCHES[spans]
    memory = PagedKV(8, 4096, 64)
    for _ in range(8):
        memory.open()
    memory.grow(8, [(span.slot, span.end) for span in rows])
    tokens = sum(span.count for span in rows)
    query = torch.randn(tokens, heads, 128, device=device, dtype=dtype)
    like = torch.randn(tokens, kv_heads, 128, device=device, dtype=dtype)
    pools = memory.layer(0, like, like)
    for pool in pools:
        pool.normal_()
    batch = PagedBatch.of(memory, rows, device)
    want = reference.attend(query, *pools, batch, EXTRAS[extra])
    got = kernels.attend(query, *pools, batch, EXTRAS[extra])
    assert float((got.float() - want.float()).abs().max()) < NEAR[dtype]


@pytest.mark.parametrize("dtype", NEAR)
def test_between_products(dtype: torch.dtype) -> None:
    from rstitch.engine.fused import kernels

    torch.manual_seed(0)

    def random(*shape: int) -> Any:
        return torch.randn(shape, device="cuda", dtype=dtype)

    heads, cells = Heads(12, 2, 128), torch.tensor([5, 0, 70], device="cuda")
    qkv, turn = random(3, 16 * 128), random(3, 64).repeat(1, 2)
    for function, arguments in (
        ("add_norm", (random(3, 5120), random(3, 5120), random(5120), 1e-6)),
        ("gated", (random(3, 2 * 18944),)),
    ):
        got, want = (getattr(one, function)(*arguments) for one in (kernels, between))
        pairs = zip(got, want, strict=True) if isinstance(got, tuple) else [(got, want)]
        for a, b in pairs:
            assert torch.allclose(a.float(), b.float(), rtol=NEAR[dtype], atol=NEAR[dtype])
    found = []
    for module in (kernels, between):
        pools = [torch.zeros(2, 64, 2, 128, device="cuda", dtype=dtype) for _ in range(2)]
        found.append(
            [module.rotate_store(qkv, turn.cos(), turn.sin(), heads, *pools, cells), *pools]
        )
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a.float(), b.float(), rtol=NEAR[dtype], atol=NEAR[dtype])
    seeds = torch.randint(0, 2**62, (2, 70), device="cuda")
    assert torch.equal(kernels.coins(*seeds, 1), between.coins(*seeds, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_fused_projections(kind: str, dtype: torch.dtype) -> None:
    model = made(kind, dtype).cuda()
    assert isinstance(fuse(model, choose(model)), FusedForward)


def pair(graphs: bool, static: bool = True) -> InProcessEngine:
    runners = {}
    for side in Side:
        memory = PagedKV(8, 256, models.PAGE)
        model = copy.deepcopy(models.model(side)).cuda()
        runners[side] = TorchRunner(model, VOCAB, 8, 256, kv=memory, static=static)
        runners[side].fuse()
    config = models.EngineConfig(max_rows=8, measure_costs=False, device="cuda", kv_memory=0.01)
    engine = InProcessEngine(runners, frozenset({EOS}), config, marks=models.MARKS)
    for side in engine.loop.blocks:
        engine.loop.blocks[side] = Blocks(runners[side], side, frozenset({EOS}), graphs)
        engine.loop.blocks[side].steps = 3
    return engine


@pytest.mark.parametrize("sampled", ["greedy", "filtered"])
@pytest.mark.parametrize("policy", ["tau 0.65", "random", "window", "slm", "llm"])
def test_graphs_change_no_token(policy: str, sampled: str) -> None:
    """In float32: graphs, the same functions without, and pass by pass."""
    sampling = SAMPLINGS[sampled].seeded()
    requests = [ask(POLICIES[policy], n, sampling=sampling) for n in range(4)]
    want = run(pair(False, static=False), requests)
    assert_same_answers(run(pair(False), requests), want, requests)
    assert_same_answers(run(pair(True), requests), want, requests)
    singles = [run(pair(True), [one])[0] for one in requests]
    assert_same_answers(singles, want, requests)
