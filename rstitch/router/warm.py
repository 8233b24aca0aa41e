"""The supervised start: how likely is it that keeping the SLM's token here loses the answer?

From paired rollouts the network learns P(handing over is right and keeping is wrong), by maximum
likelihood, so its log-odds are calibrated and lambda is a bound on them
(`rstitch.policy.lambdas`), without training again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rstitch.policy.network import Layer, Network, features
from rstitch.router.decisions import Seen

BATCH = 512
HELD_OUT = 10
"""Every so-manieth problem says when to stop."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the network, and how it is fitted."""

    hidden: tuple[int, ...] = (64,)
    """Widths between input and output; none is logistic regression."""
    epochs: int = 60
    rate: float = 2e-3
    decay: float = 0.1
    dropout: float = 0.2


class Trainable(nn.Module):
    """The network as torch trains it, over inputs that are standardised."""

    mean: Tensor
    spread: Tensor

    def __init__(self, inputs: Tensor, shape: Shape, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("mean", inputs.mean(0))
        self.register_buffer("spread", inputs.std(0).clamp(min=1e-4))
        widths = (inputs.shape[1], *shape.hidden, 1)
        self.layers = nn.ModuleList(
            nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.dropout = shape.dropout if shape.hidden else 0.0
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            bound = 1 / math.sqrt(layer.in_features)
            for one in (layer.weight, layer.bias):
                nn.init.uniform_(one, -bound, bound, generator=generator)

    def forward(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Log-odds (rows,) of raw inputs (rows, width + 2); with a generator, units are dropped."""
        found = (inputs - self.mean) / self.spread
        for layer in self.layers[:-1]:
            found = torch.relu(layer(found))
            if generator is not None and self.dropout:
                stays = torch.rand(found.shape, generator=generator) >= self.dropout
                found = found * stays / (1 - self.dropout)
        last: Tensor = self.layers[-1](found)
        return last[:, 0]

    @property
    def last(self) -> nn.Linear:
        found = self.layers[-1]
        assert isinstance(found, nn.Linear)
        return found

    def copy(self) -> Trainable:
        return deepcopy(self)

    def network(self, shift: float = 0.0) -> Network:
        """Frozen, with standardisation folded in; `shift` is added to the log-odds."""
        found = []
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
            if i == 0:
                weight = weight / self.spread.double()
                bias = bias - weight @ self.mean.double()
            if i == len(self.layers) - 1:
                bias = bias + shift
            found.append(Layer(weight.float().contiguous(), bias.float()))
        return Network(found)


def fit(
    seen: Seen,
    harm: Tensor,
    problem: Tensor,
    shape: Shape,
    seed: int,
    tell: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Trainable:
    """Maximum likelihood of `harm` (decisions,), 0 or 1; stopped where the likelihood of held-out
    problems is best. Same seed, same network."""
    draws = torch.Generator().manual_seed(seed)
    inputs = features(seen.hidden, seen.entropy, seen.context)
    out = problem % HELD_OUT == seed % HELD_OUT
    train = torch.nonzero(~out)[:, 0]
    model = Trainable(inputs[train], shape, draws)
    optimiser = torch.optim.AdamW(model.parameters(), shape.rate, weight_decay=shape.decay)
    best, kept = math.inf, [p.detach().clone() for p in model.parameters()]
    for epoch in range(shape.epochs):
        tell("warm start", epoch, shape.epochs)
        for rows in train[torch.randperm(len(train), generator=draws)].split(BATCH):
            loss = nn.functional.binary_cross_entropy_with_logits(
                model(inputs[rows], draws), harm[rows].float()
            )
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        held = likelihood(model, inputs[out], harm[out])
        if held < best:
            best, kept = held, [p.detach().clone() for p in model.parameters()]
    tell("warm start", shape.epochs, shape.epochs)
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), kept, strict=True):
            parameter.copy_(value)
    return model


@torch.no_grad()
def likelihood(model: Trainable, inputs: Tensor, harm: Tensor) -> float:
    """Mean negative log-likelihood, nats per decision."""
    return float(nn.functional.binary_cross_entropy_with_logits(model(inputs), harm.float()))
