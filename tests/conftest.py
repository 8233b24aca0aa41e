"""Settings that every test runs under: no downloads, no thread warnings, repeatable examples."""

from __future__ import annotations

import os

from hypothesis import settings

# Before anything imports huggingface_hub; `HF_HUB_OFFLINE=0 pytest -m network` goes online.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# With more, a pass has as many as timing says, and the last bit of a logit depends on it: tests
# that compare numbers exactly would fail by chance. Read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
