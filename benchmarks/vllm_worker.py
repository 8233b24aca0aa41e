"""vLLM's worker on a CPU, with a line on disk after each pass; loaded by vLLM's processes alone."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from vllm.v1.worker.cpu_worker import CPUWorker

from benchmarks.vllm_passes import WHERE


class Timed(CPUWorker):  # type: ignore[misc]  # vLLM is an extra
    """Writes when the pass began and ended, and the tokens of each row."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        side = Path(self.vllm_config.model_config.model).name
        self._log = (Path(os.environ[WHERE]) / f"{side}.jsonl").open("a", buffering=1)

    def execute_model(self, scheduled: Any) -> Any:
        self._began, self._fed = time.perf_counter(), scheduled.num_scheduled_tokens
        return super().execute_model(scheduled)

    def sample_tokens(self, grammar: Any) -> Any:
        found = super().sample_tokens(grammar)
        told = [self._began, time.perf_counter(), list(self._fed.values())]
        self._log.write(json.dumps(told) + "\n")
        return found
