"""A GGUF file tried out in a process of its own, once: llama.cpp ends the process on some damage.

It asserts what damaged metadata may break, and no `except` sees that. So a file that has not been
loaded here before is loaded and run by a child first; that it went well is remembered by the file's
path, size and time, and by llama.cpp's version. `python -m rstitch.llamacpp.trial` is that child.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from rstitch.errors import BadModel
from rstitch.llamacpp.home import home
from rstitch.llamacpp.library import library, log

REFUSED = 3
"""Exit status of a child to which llama.cpp has said no in an orderly way."""
ASSERTED = re.compile(r"GGML_ASSERT\((.*)\) failed|GGML_ABORT: *(.*)|what\(\): *(.*)")


def try_out(source: str, path: Path, *, weights: bool = True) -> None:
    """Raise BadModel, with llama.cpp's reason, for a file that it cannot load and run."""
    known = home() / "tried" / _digest(path, weights)
    if known.exists():
        return
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(path), str(int(weights))],
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        reason = done.stdout.strip() if done.returncode == REFUSED else _last_words(done.stderr)
        raise BadModel(f"llama.cpp cannot load {source}: {remedied(reason)}")
    try:
        known.parent.mkdir(parents=True, exist_ok=True)
        known.touch()
    except OSError:
        pass  # then it is tried again next time


def remedied(reason: str) -> str:
    """llama.cpp's reason, and what to do."""
    if "unknown model architecture" in reason:
        return f"{reason}; update llama-cpp-python, or choose another model"
    return f"{reason}; get the file again, or update llama-cpp-python"


def _digest(path: Path, weights: bool) -> str:
    found = path.resolve()
    facts = found.stat()
    text = f"{found} {facts.st_size} {facts.st_mtime_ns} {version('llama-cpp-python')} {weights}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _last_words(stderr: str) -> str:
    """What the child said before llama.cpp ended it."""
    found = ASSERTED.search(stderr)
    if found:
        return "it gives up on it (" + next(filter(None, found.groups()), "no reason") + ")"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return "it crashes on it" + (f" ({lines[-1]})" if lines else "")


def run(path: str, weights: bool) -> str | None:
    """Load, and read two tokens. Returns llama.cpp's reason where it refuses."""
    api = library()
    params = api.llama_model_default_params()
    params.n_gpu_layers, params.vocab_only = 0, not weights
    log.clear()
    model = api.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        return log.reason()
    if not weights:
        return None
    settings = api.llama_context_default_params()
    settings.n_ctx = settings.n_batch = 256
    settings.n_threads = settings.n_threads_batch = 1
    context = api.llama_init_from_model(model, settings)
    if not context:
        return log.reason()
    tokens = (ctypes.c_int32 * 2)(0, 0)
    if api.llama_model_has_encoder(model):
        return None  # refused by name later on
    if api.llama_decode(context, api.llama_batch_get_one(tokens, 2)):
        return log.reason()
    return None


if __name__ == "__main__":
    refusal = run(sys.argv[1], sys.argv[2] == "1")
    if refusal is not None:
        sys.stdout.write(refusal)
        sys.exit(REFUSED)
