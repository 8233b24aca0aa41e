"""Checkpoints that were quantised before: transformers' quantisers load them, if they can here.

They want their weights placed while loading, not moved afterwards, and each needs libraries of its
own; without them the error should say which, not that the files are damaged.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from importlib.util import find_spec
from typing import Any

import torch
from transformers.quantizers.auto import AutoHfQuantizer
from transformers.utils import logging as hf_logging

from rstitch.errors import BadModel

LIBRARIES = {
    "awq": ("accelerate", "gptqmodel"),
    "bitsandbytes": ("accelerate", "bitsandbytes"),
    "compressed-tensors": ("accelerate", "compressed_tensors"),
    "fp8": ("accelerate",),
    "gptq": ("accelerate", "optimum", "gptqmodel"),
}
"""By method, as modules to import; of other methods transformers' own message tells."""


def check(source: str, settings: Any, device: torch.device) -> None:
    """Raise BadModel that names the method and the remedy where it cannot be loaded here."""
    found = _config(settings)
    if found is None:
        return
    name = _method(found)
    if name is None:
        raise BadModel(
            f"{source} is quantised, but its config.json does not name its quant_method; "
            "copy the directory again"
        )
    missing = [library for library in LIBRARIES.get(name, ()) if find_spec(library) is None]
    if missing:
        packages = " ".join(library.replace("_", "-") for library in missing)
        raise BadModel(f"{source} is quantised with {name}: pip install {packages}")
    if not _quietly(lambda: AutoHfQuantizer.supports_quant_method(found)):
        raise BadModel(
            f"{source} is quantised with {name}, which transformers does not know: "
            "choose another quantisation or the model itself"
        )
    try:
        _quietly(lambda: _validate(found, device))
    except Exception as error:  # of transformers or a library of the method
        line = (str(error).splitlines() or [repr(error)])[0]
        raise BadModel(
            f"{source} is quantised with {name}, which cannot run here: {line}"
        ) from error


def placement(settings: Any, device: torch.device) -> dict[str, Any]:
    """Options of `from_pretrained` that put quantised weights where they belong."""
    if _config(settings) is None or find_spec("accelerate") is None:
        return {}
    return {"device_map": {"": device}}


def settle(model: Any, settings: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """The model where it should run, in one dtype. Weights still quantised stay as they are."""
    if _config(settings) is None:
        return model.to(device)
    if getattr(model, "is_quantized", False):
        return model if placement(settings, device) else model.to(device)
    return model.to(device, dtype)  # what was expanded at load may have a dtype of its own


def _config(settings: Any) -> dict[str, Any] | None:
    found = getattr(settings, "quantization_config", None) or getattr(
        settings.get_text_config(), "quantization_config", None
    )
    if found is None or isinstance(found, dict):
        return found
    return dict(found.to_dict())


def _method(found: dict[str, Any]) -> str | None:
    """Old bitsandbytes checkpoints do not name theirs."""
    bits = found.get("load_in_8bit") or found.get("load_in_4bit")
    return found.get("quant_method") or ("bitsandbytes" if bits else None)


def _validate(found: dict[str, Any], device: torch.device) -> None:
    quantizer = AutoHfQuantizer.from_config(deepcopy(found), pre_quantized=True)
    quantizer.validate_environment(device_map={"": device}, weights_only=True)


def _quietly(call: Callable[[], Any]) -> Any:
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    try:
        return call()
    finally:
        hf_logging.set_verbosity(verbosity)
