"""The gate as a vLLM logits processor: one class for both of vLLM's processor interfaces.

Model Runner V2 names rows by request slots on the device; V1 by their index in the batch, and says
when those change. Either way `judge` gets slots and lengths. The class is loaded in vLLM's front
end too, to check parameters, so nothing heavy is imported before a worker makes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm.v1.sample.logits_processor import LogitsProcessor as V1
from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as V2

from rstitch.vllm.asked import Asked
from rstitch.vllm.hidden import EAR

if TYPE_CHECKING:
    from torch import Tensor

    from rstitch.vllm.batch import Batch

NAME = "rstitch.vllm.gate:Gate"
"""As vLLM's `logits_processors` takes it."""


class Gate(V1, V2):  # type: ignore[misc]  # vLLM is an extra
    """Constructed as (config, request states) by V2, as (config, device, pinned) by V1."""

    def __init__(self, vllm_config: Any, *given: Any) -> None:
        from rstitch.vllm.batch import Batch
        from rstitch.vllm.slots import Slots

        device = getattr(given[0], "device", given[0])
        most = vllm_config.scheduler_config.max_num_seqs
        self.slots = Slots(max(most, getattr(given[0], "max_num_reqs", 0)), device)
        self.batch: Batch = Batch(self.slots)

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        Asked.of(sampling_params.extra_args)

    def apply(self, logits: Tensor, ctx: Any = None) -> Tensor:
        from rstitch.vllm.judge import judge

        hidden = EAR.take()
        if ctx is None:
            return judge(logits, self.slots, *self.batch.rows(), hidden)
        where, ends = ctx.expanded_idx_mapping.long(), ctx.pos.long() + 1
        return judge(logits, self.slots, where, ends, ctx.idx_mapping_np.tolist(), hidden)

    # -- V2 -------------------------------------------------------------------------------------

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        asked = Asked.of(sampling_params.extra_args)
        self.slots.put(req_idx, asked)
        return asked is not None

    def apply_staged_writes(self) -> None:
        self.slots.flush()

    # -- V1 -------------------------------------------------------------------------------------

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: Any) -> None:
        if batch_update is not None:
            self.batch.update(batch_update)
