"""How much a key may have: requests at once, tokens per minute and per day.

Tokens are reserved when a request comes, as many as it may take, and those that it did not take are
given back when it ends. So nobody gets ahead of a quota, and a request that is let in is never cut
short by one. A quota is a bucket that fills evenly: a minute's tokens may go at once, and are all
there again a minute later.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rstitch.server.keys import Key
from rstitch.server.refusal import Refused

MINUTE, DAY = 60.0, 86400.0
ROUNDING = 1e-6
"""Of a token, by which a wait may come out too short."""
BUSY = 1.0
"""Seconds after which to ask again when too many requests are under way: nobody knows when one
ends."""


class Bucket:
    """Tokens that fill evenly up to `size` in `seconds`. More than there are may be owed."""

    def __init__(self, size: int, seconds: float, word: str, now: float) -> None:
        self.size, self.seconds, self.word = size, seconds, word
        self._level, self._now = float(size), now

    def level(self, now: float) -> float:
        """Tokens that can be taken; below 0 where they are owed."""
        filled = (now - self._now) * self.size / self.seconds
        self._level, self._now = min(self.size, self._level + max(filled, 0.0)), now
        return self._level

    def wait(self, tokens: float, now: float) -> float:
        """Seconds until there are so many; 0 if there are, infinite if there never will be."""
        if tokens > self.size:
            return math.inf
        missing = tokens - self.level(now)
        return missing * self.seconds / self.size if missing > ROUNDING else 0.0

    def refusal(self, tokens: int, whose: str, now: float) -> Refused:
        """Why so many cannot be had now."""
        asks, wait = f"the request may take {tokens} tokens", self.wait(tokens, now)
        quota = f"{self.size} per {self.word}"
        if wait == math.inf:
            message = f"{asks}, and {whose} has {quota}; lower max_tokens, n or the prompt"
            return Refused("too_large", message)
        left = f"{max(0, int(self.level(now)))} of its {quota}"
        message = f"{asks}, and {whose} has {left} left; try again in {math.ceil(wait)} s"
        return Refused("quota", message, wait)

    def take(self, tokens: float, now: float) -> None:
        """Negative gives back, never to more than `size`."""
        self._level = min(self.size, self.level(now) - tokens)


@dataclass(slots=True)
class Lease:
    """What one request has been granted."""

    key: Key
    reserved: float
    used: float = 0.0
    """Tokens of prompt and answer, for the caller to set before it ends, however it ends."""


@dataclass(slots=True)
class _Account:
    """One key's."""

    buckets: list[Bucket]
    running: int = 0


class Quotas:
    """`with quotas.lease(key, tokens) as lease` holds what the request may take, and then settles.
    One per server: what it counts is in this process alone, and starts full."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._accounts: dict[str, _Account] = {}

    @contextmanager
    def lease(self, key: Key, tokens: int) -> Iterator[Lease]:
        """Reserve a request's tokens: its prompt and all that it may write. Raises Refused, with
        the seconds after which to try again, or none where it asks for more than there ever is."""
        account = self._account(key)
        self._check(key, account, tokens)
        lease = Lease(key, tokens)
        account.running += 1
        self._take(account, tokens)
        try:
            yield lease
        finally:
            account.running -= 1
            self._take(account, lease.used - lease.reserved)

    def _account(self, key: Key) -> _Account:
        if key.name not in self._accounts:
            sizes = ((key.tokens_per_minute, MINUTE, "minute"), (key.tokens_per_day, DAY, "day"))
            now = self.clock()
            buckets = [Bucket(size, span, word, now) for size, span, word in sizes if size]
            self._accounts[key.name] = _Account(buckets)
        return self._accounts[key.name]

    def _check(self, key: Key, account: _Account, tokens: int) -> None:
        whose = f"key {key.name!r}"
        if key.concurrency is not None and account.running >= key.concurrency:
            raise Refused(
                "concurrency",
                f"{whose} has {account.running} requests under way, which is all it may have; "
                "wait for one to end",
                BUSY,
            )
        now = self.clock()
        for bucket in sorted(account.buckets, key=lambda one: one.wait(tokens, now), reverse=True):
            if bucket.wait(tokens, now) > 0:
                raise bucket.refusal(tokens, whose, now)

    def _take(self, account: _Account, tokens: float) -> None:
        for bucket in account.buckets:
            bucket.take(tokens, self.clock())
