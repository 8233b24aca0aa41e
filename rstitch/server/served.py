"""What a server serves, put together once at the start and handed to every handler."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field

from rstitch.api import Stitch
from rstitch.errors import BadRequest
from rstitch.pairs import bound
from rstitch.policy import Policy
from rstitch.server.ask import Asking
from rstitch.server.config import ServerConfig
from rstitch.server.drain import Door
from rstitch.server.errors import Problem, bad
from rstitch.server.health import Health
from rstitch.server.loop import Loop
from rstitch.server.models import Names
from rstitch.server.words import Words


@dataclass(slots=True)
class Served:
    """One pair, its loop, and the rules by which it is served."""

    stitch: Stitch
    config: ServerConfig
    names: Names = field(init=False)
    loop: Loop = field(init=False)
    asking: Asking = field(init=False)
    words: Words = field(init=False)
    health: Health = field(init=False)
    door: Door = field(init=False)
    started: int = field(default_factory=lambda: int(time.time()))
    _prints: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        models = self.stitch.models
        self.names = Names(
            pair=self.config.listen.served_name or self.config.models.pair,
            default=self.stitch.policy(None, None),
            vocab_size=models[max(models)].runner.vocab_size,
            bounds=self.config.bounds,
        )
        self.loop = Loop(self.stitch.engine)
        self.asking = Asking(self.stitch, self.names, self.config.limits)
        limits = self.config.limits
        self.health = Health(self.stitch.engine, limits.health_seconds)
        self.door = Door(limits.drain_seconds)
        self.words = Words({side: model.tokenizer for side, model in models.items()})

    def fingerprint(self, policy: Policy) -> str:
        """Stands for the pair's weights, the policy, its tau and its router."""
        spec = json.dumps([policy.spec(), policy.made_for()], sort_keys=True, default=str)
        if spec not in self._prints:
            content = json.dumps([bound.models_of(self.stitch.models), spec], sort_keys=True)
            self._prints[spec] = f"fp_{hashlib.sha256(content.encode()).hexdigest()[:12]}"
        return self._prints[spec]

    def problem(self, error: Exception) -> Problem:
        """What a client is told of an answer that failed."""
        if isinstance(error, BadRequest):
            return bad(str(error))
        return Problem(500, f"the answer failed: {type(error).__name__}")
