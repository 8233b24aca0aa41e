"""The kernels go through Triton's compiler, down to a binary for a GPU that need not be here."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import pytest

pytestmark = [
    pytest.mark.skipif(
        not find_spec("triton") or os.environ.get("TRITON_INTERPRET") == "1",
        reason="no triton, or it interprets",
    ),
    pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION"),  # a default of 3.9 that changes
]
HOPPER = 90
POINTERS = {
    "tile_rows": "*i32", "tile_first": "*i32", "starts": "*i32", "counts": "*i32", "ends": "*i32",
    "table": "*i32", "cells": "*i64", "positions": "*i64", "weight": "*fp32",
}  # fmt: skip
SCALARS = {"scale": "fp32", "eps": "fp32"}


def compiled(kernel: Any, tensors: str, dtype: str, constants: dict[str, Any], **more: str) -> Any:
    """`tensors`: names of arguments that are pointers to that dtype."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    known = {**POINTERS, **SCALARS, **dict.fromkeys(tensors.split(), f"*{dtype}"), **more}
    kinds = {
        name: "constexpr" if name in constants else known.get(name, "i32")
        for name in kernel.arg_names
    }
    source = ASTSource(fn=kernel, signature=kinds, constexprs=constants)
    return triton.compile(source, target=GPUTarget("cuda", HOPPER, 32))


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("splits", [1, 16])
@pytest.mark.parametrize("extra", [False, True])
def test_attention_compiles(dtype: str, splits: int, extra: bool) -> None:
    from rstitch.engine.paged import kernels

    constants = {
        "HEADS": 12, "GROUP": 6, "TILE": 2, "PAGE": 64, "DK": 128, "DV": 128, "BLOCK_DK": 128,
        "BLOCK_DV": 128, "BLOCK_M": 16, "BLOCK_N": 64, "SPLITS": splits,
        "WINDOW": 128 if extra else 0, "SOFTCAP": 30.0 if extra else 0.0, "SINKS": extra,
    }  # fmt: skip
    part = {"part": "*fp32" if splits > 1 else f"*{dtype}"}
    made = compiled(kernels._attend, "query keys values sinks", dtype, constants, **part)
    assert made.asm["cubin"] and made.metadata.shared < 200_000


def test_writing_and_merging_compile() -> None:
    from rstitch.engine.paged import kernels

    store = {"HEADS": 2, "DK": 128, "DV": 96, "BLOCK_DK": 128, "BLOCK_DV": 128}
    assert compiled(kernels._store, "key value keys values", "bf16", store).asm["cubin"]
    merge = {"HEADS": 12, "DV": 128, "BLOCK_DV": 128, "SPLITS": 16, "SINKS": True}
    assert compiled(kernels._merge, "sinks out", "bf16", merge, part="*fp32").asm["cubin"]


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("normed", [False, True])
def test_what_lies_between_products_compiles(dtype: str, normed: bool) -> None:
    from rstitch.engine.fused import kernels

    rotate = {"QUERY": 12, "KV": 2, "DIM": 128, "HALF": 64, "BLOCK": 64, "NORM": normed}
    names = "qkv cos sin q_norm k_norm query keys values"
    assert compiled(kernels._rotate_store, names, dtype, rotate).asm["cubin"]
    norm = {"WIDTH": 1536, "BLOCK": 2048, "ADDS": normed}
    names = "residual new weight summed normed"
    assert compiled(kernels._add_norm, names, dtype, norm).asm["cubin"]
    kinds = {"seeds": "*i64", "positions": "*i64", "out": "*fp32"}
    assert compiled(kernels._coins, "", dtype, {"BLOCK": 32}, **kinds).asm["cubin"]
    gated = {"WIDTH": 8960, "BLOCK": 1024}
    assert compiled(kernels._gated, "gate_up out", dtype, gated).asm["cubin"]
