"""Hugging Face's libraries without their reports and, where nobody watches, their progress bars."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.constants import HF_HUB_DISABLE_PROGRESS_BARS
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils.tqdm import are_progress_bars_disabled
from transformers.utils import logging as hf_logging


@contextmanager
def quiet() -> Iterator[None]:
    """Errors alone are logged, and bars are drawn on a terminal only; afterwards all is as before.

    Whoever asked for bars in the environment (HF_HUB_DISABLE_PROGRESS_BARS=0) gets them anywhere.
    """
    verbosity, hub_verbosity = hf_logging.get_verbosity(), hub_logging.get_verbosity()
    drawn = hf_logging.is_progress_bar_enabled() and not are_progress_bars_disabled()
    unseen = drawn and HF_HUB_DISABLE_PROGRESS_BARS is None and not sys.stderr.isatty()
    hf_logging.set_verbosity_error()  # reports of many lines: what matters is checked by us
    hub_logging.set_verbosity(logging.ERROR)
    if unseen:
        hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        if unseen:
            hf_logging.enable_progress_bar()
