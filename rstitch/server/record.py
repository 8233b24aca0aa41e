"""What is left of a request when it has ended: a line in the log, and what metrics count."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field

from rstitch.server import logs
from rstitch.server.answering import Answering
from rstitch.server.errors import Problem, problem_of
from rstitch.server.keys import Key
from rstitch.server.metrics import Metrics
from rstitch.server.refusal import Refused

CLIENT_GONE = 499
"""What the log says where nobody was there to read a status."""


@dataclass(slots=True)
class Record:
    """Filled in as the request gets on; `end` is called once."""

    metrics: Metrics
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    since: float = field(default_factory=time.perf_counter)
    key: Key | None = None
    answering: Answering | None = None

    def failed(self, error: Exception) -> Problem:
        """It ends with that: what its client is told."""
        problem = problem_of(error)
        if problem.status == 500:
            logs.problem(error, self.id)
        if isinstance(error, Refused):
            self.metrics.refused(error.reason)
        elif 400 <= problem.status < 500 and problem.status != 408:
            self.metrics.refused("invalid")
        return problem

    def end(self, status: int, reason: str | None = None) -> None:
        """reason: what it was refused or failed for; its finish reason if left out."""
        seconds = time.perf_counter() - self.since
        name = None if self.key is None else self.key.name
        line = logs.Line(self.id, status, seconds, name, reason=reason)
        logs.request(line if self.answering is None else self._told(line, self.answering))

    def _told(self, line: logs.Line, one: Answering) -> logs.Line:
        sides = [choice.sides for choice in one.choices]
        firsts = [choice.first for choice in one.choices if choice.first is not None]
        queued = one.form.queued
        for choice in one.choices:
            if choice.usage is not None and choice.usage.degraded:
                self.metrics.degraded()
        reasons = sorted({choice.reason or "" for choice in one.choices})
        return logs.Line(
            id=line.id,
            status=line.status,
            seconds=line.seconds,
            key=line.key,
            model=one.task.model,
            prompt_tokens=one.task.prompt_tokens,
            slm_tokens=sum(slm for slm, _ in sides),
            llm_tokens=sum(llm for _, llm in sides),
            queue_seconds=queued,
            ttft_seconds=min(firsts) + queued if firsts else None,
            reason=line.reason or ",".join(reasons),
        )
