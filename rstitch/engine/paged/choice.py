"""Which code attends over pages here, chosen once per kind of device and said in the log."""

from __future__ import annotations

import importlib.util
import logging
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor

from rstitch.engine.dense import Extra
from rstitch.engine.paged import reference

if TYPE_CHECKING:
    from rstitch.engine.paged.batch import PagedBatch

log = logging.getLogger(__name__)


class Backend(Protocol):
    """A module with these two functions."""

    def store(
        self, key: Tensor, value: Tensor, keys: Tensor, values: Tensor, cells: Tensor
    ) -> None:
        """Write keys and values (T, heads, dim) to those cells of their pools."""
        ...

    def attend(
        self, query: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, extra: Extra
    ) -> Tensor:
        """Queries (T, heads, dim) of the batch over the pools: (T, heads, value dim)."""
        ...


def backend(device: torch.device) -> Backend:
    return _chosen(device.type, has_triton(device))


def has_triton(device: torch.device) -> bool:
    """Whether Triton's kernels run there: on a GPU, or on the CPU if it is told to interpret."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    return (device.type == "cuda" or interpreted) and _installed()


@lru_cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@lru_cache
def _chosen(device: str, kernels_run: bool) -> Backend:
    if kernels_run:
        from rstitch.engine.paged import kernels

        log.info("attention over pages on %s: Triton kernels", device)
        return cast(Backend, kernels)
    log.info("attention over pages on %s: torch, by gathering pages", device)
    return cast(Backend, reference)
