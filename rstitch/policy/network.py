"""The router's network, and its file: weights as safetensors, a JSON card beside them.

A small MLP from (final hidden state of the SLM, entropy, context length) to one number: the
log-odds of handing over. With two actions that is what a pair of logits says, their difference.
Inputs are standardised by what is folded into the first layer, so the file holds plain matrices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rstitch.errors import BadRequest
from rstitch.files import replaced
from rstitch.policy.base import Floats

WEIGHTS, CARD = "router.safetensors", "router.json"
VERSION = 1
BESIDE = 2
"""Inputs beside the hidden state: entropy and ln(1 + context)."""

_HELD: dict[str, Network] = {}
"""By path."""


@dataclass(frozen=True, slots=True)
class Layer:
    weight: Tensor
    """float32 (outputs, inputs)."""
    bias: Tensor
    """float32 (outputs,)."""


class Network:
    """Frozen once made. Layers with ReLU between them; the last has one output."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self.width = layers[0].weight.shape[1] - BESIDE
        """Of the hidden state."""
        self._plain = [(one.weight.cpu().numpy(), one.bias.cpu().numpy()) for one in layers]
        self._moved = {layers[0].weight.device: layers}

    def __call__(self, hidden: Tensor, entropy: Tensor, context: Tensor) -> Tensor:
        """Log-odds (rows,) from hidden (rows, width), entropy and context (rows,)."""
        inputs = features(hidden, entropy, context)
        layers = self._on(inputs.device)
        for layer in layers[:-1]:
            inputs = torch.relu(torch.nn.functional.linear(inputs, layer.weight, layer.bias))
        last = layers[-1]
        return torch.nn.functional.linear(inputs, last.weight, last.bias)[:, 0]

    def one(self, hidden: Floats, entropy: float, context: int) -> float:
        """The same of one row in numpy, a fraction of torch's time for so little."""
        inputs = np.empty(self.width + BESIDE, np.float32)
        inputs[: self.width] = hidden
        inputs[-2:] = entropy, math.log1p(context)
        for weight, bias in self._plain[:-1]:
            inputs = np.maximum(weight.dot(inputs) + bias, 0)
        weight, bias = self._plain[-1]
        return float(weight[0].dot(inputs) + bias[0])

    def _on(self, device: torch.device) -> list[Layer]:
        """The layers there, moved once."""
        if device not in self._moved:
            self._moved[device] = [
                Layer(one.weight.to(device), one.bias.to(device)) for one in self.layers
            ]
        return self._moved[device]


def features(hidden: Tensor, entropy: Tensor, context: Tensor) -> Tensor:
    """float32 (rows, width + 2)."""
    beside = torch.stack([entropy.float(), torch.log1p(context.float())], dim=-1)
    return torch.cat([hidden.float(), beside], dim=-1)


def save(path: Path, network: Network, card: Mapping[str, Any]) -> None:
    """Write both files into a directory, each whole or not at all; the card last.

    Raises BadRequest where it cannot be written.
    """
    tensors = {}
    for i, layer in enumerate(network.layers):
        tensors[f"{i}.weight"], tensors[f"{i}.bias"] = layer.weight, layer.bias
    text = json.dumps({"version": VERSION, "layers": len(network.layers), **card}, indent=1) + "\n"
    try:
        path.mkdir(parents=True, exist_ok=True)
        with replaced(path / WEIGHTS) as partial:
            save_file({name: one.contiguous() for name, one in tensors.items()}, partial)
            partial.chmod(0o644)  # safetensors makes it for its owner alone
        with replaced(path / CARD) as partial:
            partial.write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise BadRequest(f"the router cannot be written to {path}: {error}") from error


def read_card(path: str) -> dict[str, Any]:
    """Raises BadRequest for a file that is no router's."""
    file = _folder(path) / CARD
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
        if card["version"] != VERSION:
            raise ValueError(f"version {card['version']}, this rstitch reads {VERSION}")
        float(card["tau"]), int(card["layers"]), dict(card["models"])
    except OSError as error:
        raise BadRequest(
            f"router {path}: {file} cannot be read ({error.strerror}); name the directory that "
            "rstitch train-router wrote"
        ) from error
    except (ValueError, LookupError, TypeError) as error:
        raise BadRequest(f"router {path}: {file} is no router's card ({error})") from error
    return dict(card)


def network_of(path: str) -> Network:
    """As it was last read: for every token, where looking at the file would cost more than the
    network."""
    return _HELD[path] if path in _HELD else read_network(path)


def hold(path: str, network: Network) -> None:
    """Have `network_of` find a network that lies in no file (training)."""
    _HELD[path] = network


def read_network(path: str) -> Network:
    """The file as it is now. Raises BadRequest for weights that are missing, damaged or odd."""
    file = _folder(path) / WEIGHTS
    try:
        stamp = file.stat()
    except OSError as error:
        raise BadRequest(f"router {path}: {file} cannot be read: {error.strerror}") from error
    found = _HELD[path] = _read_network(path, stamp.st_mtime_ns, stamp.st_size)
    return found


@lru_cache(maxsize=64)
def _read_network(path: str, time: int, size: int) -> Network:
    """Once per version of the file."""
    file, count = _folder(path) / WEIGHTS, int(read_card(path)["layers"])
    try:
        found = load_file(file)
        layers = [
            Layer(found[f"{i}.weight"].float(), found[f"{i}.bias"].float()) for i in range(count)
        ]
        _check_shapes(layers)
    except (OSError, SafetensorError, LookupError, ValueError) as error:
        raise BadRequest(f"router {path}: {file} holds no router ({error})") from error
    return Network(layers)


def _check_shapes(layers: list[Layer]) -> None:
    if not layers:
        raise ValueError("no layers")
    given = layers[0].weight.shape[1]
    for i, layer in enumerate(layers):
        outputs, inputs = layer.weight.shape
        if inputs != given or tuple(layer.bias.shape) != (outputs,):
            raise ValueError(f"layer {i} is {outputs} x {inputs} with {list(layer.bias.shape)}")
        given = outputs
    if given != 1 or layers[0].weight.shape[1] <= BESIDE:
        raise ValueError(f"{layers[0].weight.shape[1]} inputs, {given} outputs")


def _folder(path: str) -> Path:
    """The directory, where one of its files was named too."""
    found = Path(path)
    return found.parent if found.name in (WEIGHTS, CARD) else found
