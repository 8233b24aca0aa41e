"""One llama.cpp context: KV cells that all rows share, and the buffers of its passes.

What comes out of a pass stays where llama.cpp put it: tensors are views of its buffers, good until
the next pass. Views are kept by address, since making one anew takes a small model's step a tenth
longer.
"""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rstitch.engine.runner import AS_NUMPY
from rstitch.errors import BadRequest
from rstitch.llamacpp.library import library, log

UBATCH = 512
"""Tokens that llama.cpp computes at once; it cuts longer passes into pieces itself."""
PAGE = 256
"""llama.cpp rounds the number of cells up to a multiple of this."""
FLASH = {"auto": -1, "off": 0, "on": 1}
KV_TYPES = {"f32": 0, "f16": 1, "q8_0": 8}
"""ggml's numbers of types."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one side runs."""

    threads: int
    kv_type: str
    flash_attention: str
    gpu_layers: int = 0
    free: bool = False
    """Nobody said how many threads: up to `threads`, what is fastest for each pass."""


class Context:
    """KV for `cells` tokens of up to `rows` rows; given back by `close`, or with its last user."""

    def __init__(self, model: Model, cells: int, rows: int, settings: Settings) -> None:
        self.api = api = library()
        self.model = model
        params = api.llama_context_default_params()
        params.n_ctx = params.n_batch = cells  # a pass never holds more tokens than there are cells
        params.n_ubatch = UBATCH
        params.n_seq_max = rows
        params.n_threads = params.n_threads_batch = settings.threads
        params.type_k = params.type_v = KV_TYPES[settings.kv_type]
        params.flash_attn_type = FLASH[settings.flash_attention]
        params.offload_kqv = params.op_offload = settings.gpu_layers != 0
        params.kv_unified = True  # rows of any lengths in one pass, and forks without a copy
        params.swa_full = True  # layers with a window keep all, so that a row can be cut anywhere
        params.pooling_type = api.LLAMA_POOLING_TYPE_NONE
        params.no_perf = True
        log.clear()
        self.handle = api.llama_init_from_model(model.handle, params)
        if not self.handle:
            raise BadRequest(
                f"llama.cpp cannot hold {cells} tokens of {model.source} with kv_type "
                f"{settings.kv_type!r} and flash_attention {settings.flash_attention!r}: "
                f"{log.reason()}; choose others, or a lower kv_memory"
            )
        self.close = weakref.finalize(self, api.llama_free, self.handle)
        self.memory = api.llama_get_memory(self.handle)
        self.cells = int(api.llama_n_ctx(self.handle))
        self._decode = api.llama_decode
        self._logits = _address(api, "llama_get_logits")
        self._hidden = _address(api, "llama_get_embeddings")
        self._views: dict[tuple[int, int, int], Tensor] = {}

    def decode(self, batch: Any) -> None:
        """Raises RuntimeError with llama.cpp's reason; any part of it may be cached then."""
        status = self._decode(self.handle, batch)
        if status:
            reason = "no room in its KV memory" if status == 1 else log.reason()
            raise RuntimeError(f"llama.cpp failed with status {status}: {reason}")

    def logits(self, count: int) -> Tensor:
        """Those of the last pass, for the tokens that asked for them: float32 (count, columns)."""
        return self._view(self._logits(self.handle), count, self.model.columns)

    def hidden(self, count: int) -> Tensor:
        """What the head read to make them: float32 (count, width)."""
        return self._view(self._hidden(self.handle), count, self.model.width)

    def give_hidden(self, wanted: bool) -> None:
        """Whether passes yield hidden states too; then every fed token yields both."""
        self.api.llama_set_embeddings(self.handle, wanted)

    def set_threads(self, threads: int) -> None:
        self.api.llama_set_n_threads(self.handle, threads, threads)

    # -- rows -----------------------------------------------------------------------------------

    def length(self, row: int) -> int:
        """Tokens that llama.cpp itself says it has cached of a row."""
        return int(self.api.llama_memory_seq_pos_max(self.memory, row)) + 1

    def cut(self, row: int, start: int) -> None:
        """Forget the row's tokens from `start` on."""
        if not self.api.llama_memory_seq_rm(self.memory, row, start, -1):
            raise RuntimeError(f"llama.cpp cannot cut row {row} at {start}")

    def copy(self, row: int, to: int) -> None:
        self.api.llama_memory_seq_cp(self.memory, row, to, -1, -1)

    def state_bytes(self, row: int) -> int:
        return int(self.api.llama_state_seq_get_size(self.handle, row))

    def move(self, row: int, to: Context) -> None:
        """Copy a row's KV into another context of the same model."""
        size = self.state_bytes(row)
        state = (ctypes.c_uint8 * size)()
        self.api.llama_state_seq_get_data(self.handle, state, size, row)
        if not self.api.llama_state_seq_set_data(to.handle, state, size, row):
            raise RuntimeError(f"llama.cpp cannot move row {row}: {log.reason()}")

    def _view(self, address: int, count: int, columns: int) -> Tensor:
        key = address, count, columns
        view = self._views.get(key)
        if view is None:
            if not address:
                raise RuntimeError("llama.cpp has no outputs of its last pass")
            buffer = (ctypes.c_float * (count * columns)).from_address(address)
            view = torch.frombuffer(buffer, dtype=torch.float32).view(count, columns)
            setattr(view, AS_NUMPY, view.numpy())
            self._views[key] = view
        return view


class Model:
    """Weights, shared by the contexts that follow each other; given back like those."""

    def __init__(self, source: str, handle: Any) -> None:
        api = library()
        self.source, self.handle = source, handle
        self.close = weakref.finalize(self, api.llama_model_free, handle)
        vocabulary = api.llama_model_get_vocab(handle)
        self.columns = int(api.llama_vocab_n_tokens(vocabulary))
        self.width = int(api.llama_model_n_embd_out(handle))


def _address(api: Any, name: str) -> Any:
    """A function of one context that returns where its floats begin, as a number."""
    return ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)((name, api._lib))
