"""What a server serves, put together once at the start and handed to every handler."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rstitch.api import Stitch
from rstitch.pairs import bound
from rstitch.policy import Policy
from rstitch.server.ask import Asking
from rstitch.server.config import ServerConfig
from rstitch.server.drain import Door
from rstitch.server.entry import Entry
from rstitch.server.fair import FairQueue
from rstitch.server.health import Health
from rstitch.server.keys import Keys
from rstitch.server.loop import Loop
from rstitch.server.metrics import Metrics
from rstitch.server.models import Names
from rstitch.server.playground.traces import Traces
from rstitch.server.quota import Quotas
from rstitch.server.rules import Rules
from rstitch.server.shadow import Shadow
from rstitch.server.words import Words
from rstitch.steering import PRICES


@dataclass(slots=True)
class Served:
    """One pair, its loop, and the rules by which it is served."""

    stitch: Stitch
    config: ServerConfig
    keys: Keys = field(default_factory=Keys)
    default: Policy | None = None
    """Where a request names none; the plain rule at the pair's tau if left out."""
    names: Names = field(init=False)
    metrics: Metrics = field(init=False)
    loop: Loop = field(init=False)
    shadow: Shadow = field(init=False)
    asking: Asking = field(init=False)
    words: Words = field(init=False)
    health: Health = field(init=False)
    door: Door = field(init=False)
    entry: Entry = field(init=False)
    traces: Traces = field(init=False)
    started: int = field(default_factory=lambda: int(time.time()))
    on_lost: Callable[[str], None] = lambda reason: None
    """Called with the reason when the server cannot go on."""
    _pair: str = field(init=False, default="")
    """Says which weights these are."""

    def __post_init__(self) -> None:
        models = self.stitch.models
        self.names = Names(
            pair=self.config.listen.served_name or self.config.models.pair,
            rules=Rules(self.default or self.stitch.policy(None, None), self.config.bounds),
            vocab_size=models[max(models)].runner.vocab_size,
        )
        self.metrics = Metrics(self.stitch.engine.stats)
        self.loop = Loop(self.stitch.engine, self.metrics.event, self._side_lost)
        self.shadow = Shadow(self.config.failures.shadow, self.loop, self.metrics, self.stitch.ends)
        limits, finish = self.config.limits, self.config.failures.on_side_failure == "finish"
        self.asking = Asking(self.stitch, self.names, limits, may_degrade=finish)
        self.health = Health(self.stitch.engine, limits.health_seconds)
        self.door = Door(limits.drain_seconds)
        queue = FairQueue(self.config.engine.max_rows, limits.queue_length)
        self.entry = Entry(self.door, self.keys, Quotas(), queue)
        self.traces = Traces(on=self.has_playground)
        weights = [
            one["sha256"] or [one["source"], one["revision"]]
            for one in bound.models_of(models).values()
        ]
        self._pair = json.dumps(weights, sort_keys=True)
        self.words = Words({side: model.tokenizer for side, model in models.items()})

    @property
    def has_playground(self) -> bool:
        chosen = self.config.listen.playground
        return chosen == "on" or (chosen == "auto" and not self.keys)

    def fingerprint(self, policy: Policy) -> str:
        """Stands for the pair's weights, the policy, its tau and its router; not for what a step
        was seen to take, which differs each time."""
        spec = {name: v for name, v in policy.spec().items() if name not in PRICES}
        told = json.dumps([spec, policy.made_for()], sort_keys=True, default=str)
        return f"fp_{hashlib.sha256(f'{self._pair} {told}'.encode()).hexdigest()[:12]}"

    def _side_lost(self) -> None:
        """Without the LLM it may go on, if it was told to; without the SLM it cannot."""
        goes_on = self.config.failures.on_side_failure == "finish" and "slm" not in self.lost
        if not goes_on:
            self.end_lost(next(iter(self.lost.values()), "a side is lost"))

    def end_lost(self, reason: str) -> None:
        """It cannot go on."""
        if not self.door.lost:
            self.door.lost = reason
            self.on_lost(reason)

    @property
    def lost(self) -> dict[str, str]:
        """Labels of the sides that cannot be run any more, and why."""
        found: dict[str, str] = self.loop.engine.stats()["lost"]
        return found

    @property
    def not_ready(self) -> str:
        """Why it should get no requests; empty where it should."""
        return self.door.not_ready or next(iter(self.lost.values()), "")
