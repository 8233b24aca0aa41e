"""llama.cpp as a library: found or asked for, its log off the terminal, what it was built with.

llama.cpp says why a call failed in its log alone, so that is kept for error messages.
"""

from __future__ import annotations

import ctypes
from collections import deque
from functools import cache
from importlib import import_module
from typing import Any

from rstitch.errors import BadRequest

EXTRA = "pip install 'rstitch[llamacpp]'"
WARN, ERROR, CONTINUED = 3, 4, 5
"""Levels of llama.cpp's log that are kept; the last goes on with the line before."""
KEPT = 20


class Log:
    """The last things that llama.cpp warned of or failed with."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT)
        self._keeps = False
        self.callback: Any = None
        """What llama.cpp was given: it calls that as long as the process lives."""

    def take(self, level: int, text: bytes, _: object) -> None:
        """llama.cpp calls this, from whichever thread it works in."""
        if level != CONTINUED:
            self._keeps = level in (WARN, ERROR)
        line = text.decode(errors="replace").strip()
        if self._keeps and line:
            self.lines.append(line)

    def clear(self) -> None:
        self.lines.clear()

    def reason(self) -> str:
        """What went wrong first, without the names of llama.cpp's functions."""
        for line in self.lines:
            name, colon, rest = line.partition(": ")
            said = rest if colon and " " not in name else line
            if said:
                return said.rstrip(".")
        return "llama.cpp does not say why"


log = Log()


@cache
def library() -> Any:
    """The low-level API of llama-cpp-python. Raises BadRequest where it is not installed."""
    try:
        api = import_module("llama_cpp.llama_cpp")
    except ImportError as error:
        raise BadRequest(f"GGUF models need llama-cpp-python ({error}); {EXTRA}") from error
    except (OSError, RuntimeError) as error:  # its shared library, built for another machine
        line = str(error).splitlines()[0]
        raise BadRequest(
            f"llama-cpp-python is damaged ({line}); pip install --force-reinstall llama-cpp-python"
        ) from error
    log.callback = api.llama_log_callback(log.take)
    api.llama_log_set(log.callback, ctypes.c_void_p(0))
    api.llama_backend_init()
    return api


@cache
def gguf() -> Any:
    """The package that writes GGUF files. Raises BadRequest where it is not installed."""
    try:
        return import_module("gguf")
    except ImportError as error:
        raise BadRequest(f"GGUF files need the package gguf ({error}); {EXTRA}") from error


def check_layers(gpu_layers: int) -> None:
    """Raise BadRequest where layers are to go to a GPU that llama.cpp was not built for."""
    if gpu_layers and not library().llama_supports_gpu_offload():
        raise BadRequest(
            f"gpu_layers is {gpu_layers}, but llama-cpp-python was built without a GPU; reinstall "
            "it with CMAKE_ARGS=-DGGML_CUDA=on (or -DGGML_METAL=on, -DGGML_VULKAN=on), or use 0"
        )


def most_rows() -> int:
    """Sequences that one context may hold."""
    return int(library().llama_max_parallel_sequences())
