"""The Python face: `rstitch.load(...)`, then `generate`, `stream`, `batch`.

Each is a step of one ladder: `stream` yields pieces as they come, `generate` joins one stream,
`batch` runs many in flight at once. All of them talk to the engine through its seam.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import torch
from jinja2 import TemplateError

from rstitch.config import EngineConfig
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.loader import LoadedModel, check_vocabularies, load_model
from rstitch.engine.request import Request, sample_ids
from rstitch.errors import BadRequest
from rstitch.pairs import preset
from rstitch.policy import Policy, make
from rstitch.text import Reasoned, split_reasoning
from rstitch.trace import Trace
from rstitch.types import (
    Event,
    Failed,
    Finished,
    Proposal,
    Sampling,
    Side,
    Token,
    Usage,
    sample_seed,
)

Prompt = str | Sequence[dict[str, str]]
"""A user message, or a list of chat messages {"role": ..., "content": ...}."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One proposal of a stream; `proposal.keep` tells whether it became part of the answer."""

    text: str
    proposal: Proposal | None
    """None for what a last piece brings: text that was held back until the end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer."""

    text: str
    """Everything after the prompt, reasoning included."""
    starts_thinking: bool
    """The text begins inside a <think> block that the prompt opened."""
    reason: str
    """"stop", "length" or "cancelled"."""
    usage: Usage
    trace: Trace

    @property
    def reasoned(self) -> Reasoned:
        """The text split into reasoning and answer, for models that think in <think> blocks."""
        return split_reasoning(self.text, started_inside=self.starts_thinking)


class Stitch:
    """Two loaded models. A context manager; `close` cancels what is in flight."""

    def __init__(self, models: dict[Side, LoadedModel], config: EngineConfig, tau: float) -> None:
        self.models = models
        self.tau = tau
        """Used where a call gives neither tau nor policy."""
        eos = frozenset().union(*(model.eos_token_ids for model in models.values()))
        self.tokenizer = models[max(models)].tokenizer
        runners = {side: model.runner for side, model in models.items()}
        self.engine = InProcessEngine(runners, eos, config, _Decoder(self.tokenizer))
        self._inboxes: dict[str, deque[Event]] = {}
        self._pumping = threading.Lock()

    def __enter__(self) -> Stitch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what is in flight. Streams keep what they have, and end."""
        with self._pumping:
            for name in list(self._inboxes):
                self.engine.cancel(name)
            while not self.engine.idle:
                self._pump()
        self.engine.close()

    @overload
    def generate(self, prompt: Prompt, *, n: None = None, **options: Any) -> Answer: ...

    @overload
    def generate(self, prompt: Prompt, *, n: int, **options: Any) -> list[Answer]: ...

    def generate(
        self, prompt: Prompt, *, n: int | None = None, **options: Any
    ) -> Answer | list[Answer]:
        """Write one answer, or a list of n of them; options as in `stream`."""
        (answers,) = self.batch([prompt], n=1 if n is None else n, **options)
        return answers if n is not None else answers[0]

    @overload
    def batch(
        self, prompts: Sequence[Prompt], *, n: None = None, **options: Any
    ) -> list[Answer]: ...

    @overload
    def batch(self, prompts: Sequence[Prompt], *, n: int, **options: Any) -> list[list[Answer]]: ...

    def batch(
        self, prompts: Sequence[Prompt], *, n: int | None = None, **options: Any
    ) -> list[Answer] | list[list[Answer]]:
        """Write many answers, as many in flight as the engine has rows; options as in `stream`.

        With n, a list of n samples per prompt. They share the prompt's KV.
        """
        groups: list[list[Stream]] = []
        try:
            for prompt in prompts:
                groups.append(self.streams(prompt, n=1 if n is None else n, **options))
            answers = [[stream.result() for stream in group] for group in groups]
            return answers if n is not None else [answer for (answer,) in answers]
        finally:
            for group in groups:
                for stream in group:
                    stream.close()

    def stream(self, prompt: Prompt, **options: Any) -> Stream:
        """Iterate over the pieces of an answer as they are written; closing it early cancels it.

        Options are those of `streams`.
        """
        (stream,) = self.streams(prompt, n=1, **options)
        return stream

    def streams(
        self,
        prompt: Prompt,
        *,
        n: int,
        tau: float | None = None,
        policy: Policy | str | None = None,
        sampling: Sampling | None = None,
        max_tokens: int = 512,
        stop: str | Sequence[str] = (),
        raw: bool = False,
        top_logprobs: int = 0,
        meta: dict[str, Any] | None = None,
    ) -> list[Stream]:
        """Streams of n samples of one prompt; sample i draws by `types.sample_seed(seed, i)`.

        tau: entropy threshold, the pair's own by default; or a policy, by object or by the name
        of one without parameters. raw: the prompt is plain text, no chat template. meta goes into
        the trace. Raises BadRequest for what can never be served.
        """
        rule, sampling = self._policy(tau, policy), (sampling or Sampling()).seeded()
        assert sampling.seed is not None
        prompts = self.prompts(prompt, policy=rule, raw=raw)
        request = Request(
            prompts=prompts,
            policy=rule,
            sampling=sampling,
            max_tokens=max_tokens,
            stop=_stops(stop),
            top_logprobs=top_logprobs,
            n=n,
        )
        traces = [
            Trace(
                id=name,
                policy=rule.spec(),
                sampling=replace(sampling, seed=sample_seed(sampling.seed, index)),
                prompts=prompts,
                models={side.label: self.models[side].source for side in prompts},
                meta=meta or {},
            )
            for index, name in enumerate(self._open(request))
        ]
        return [Stream(self, trace) for trace in traces]

    def prompts(
        self, prompt: Prompt, *, policy: Policy, raw: bool = False
    ) -> dict[Side, tuple[int, ...]]:
        """The prompt as token ids for each side the policy uses, by that side's own template."""
        return {
            side: tuple(_render(self.models[side], prompt, raw))
            for side in policy.sides()
            if side in self.models
        }

    # -- for Stream -----------------------------------------------------------------------------

    def _policy(self, tau: float | None, policy: Policy | str | None) -> Policy:
        if tau is not None and policy is not None:
            name = policy if isinstance(policy, str) else policy.name
            raise BadRequest(f"give tau ({tau}) or policy ({name}), not both")
        if policy is None:
            return make("entropy", tau=self.tau if tau is None else tau)
        return make(policy) if isinstance(policy, str) else policy

    def _open(self, request: Request) -> list[str]:
        with self._pumping:
            names = sample_ids(self.engine.submit(request), request.n)
            self._inboxes.update((name, deque()) for name in names)
            return names

    def _next(self, name: str) -> Event:
        """The next event of that request, running the engine as needed."""
        inbox = self._inboxes[name]
        while not inbox:
            with self._pumping:
                if not inbox:
                    self._pump()
        return inbox.popleft()

    def _abandon(self, name: str) -> None:
        """A stream that nobody can read any more: the next step cancels it."""
        if self._inboxes.pop(name, None) is not None:
            self.engine.cancel(name)

    def _pump(self) -> None:
        for event in self.engine.step():
            if event.request in self._inboxes:
                self._inboxes[event.request].append(event)


class Stream(Iterator[Piece]):
    """One answer being written. `trace` holds what there is so far, at any time.

    Closing it, or letting go of it, cancels the answer.
    """

    def __init__(self, stitch: Stitch, trace: Trace) -> None:
        self._stitch = stitch
        self._name = trace.id
        weakref.finalize(self, stitch._abandon, self._name).atexit = False
        self._finished: Finished | None = None
        self._open = True
        self.trace = trace

    def __next__(self) -> Piece:
        if not self._open:
            raise StopIteration
        event = self._stitch._next(self._name)
        if isinstance(event, Token):
            self.trace.proposals.append(event.proposal)
            self.trace.texts.append(event.text)
            return Piece(event.text, event.proposal)
        self._leave()
        if isinstance(event, Failed):
            raise event.error
        self._take_end(event)
        if event.text:
            return Piece(event.text, None)
        raise StopIteration

    @property
    def starts_thinking(self) -> bool:
        """The prompt already opened the <think> block, as reasoning models' templates do."""
        prompt = next(reversed(self.trace.prompts.values()))
        return str(self._stitch.tokenizer.decode(list(prompt[-8:]))).rstrip().endswith("<think>")

    def result(self) -> Answer:
        """Run to the end and return the whole answer."""
        for _ in self:
            pass
        if self._finished is None:
            raise BadRequest("the stream was closed before its end; there is no whole answer")
        text = "".join(self.trace.texts)
        end = self._finished
        return Answer(text, self.starts_thinking, end.reason, end.usage, self.trace)

    def close(self) -> None:
        """Cancel the answer if it is not finished; its trace so far stays, with its end."""
        if not self._open:
            return
        self._stitch.engine.cancel(self._name)
        for _ in self:  # the pass in progress may still bring a token, then the end
            pass

    def _leave(self) -> None:
        self._open = False
        self._stitch._inboxes.pop(self._name, None)

    def _take_end(self, event: Finished) -> None:
        self._finished = event
        if event.text:
            kept = [i for i, proposal in enumerate(self.trace.proposals) if proposal.keep]
            self.trace.texts[kept[-1]] += event.text
        self.trace.forwards.extend(event.forwards)
        self.trace.end = {"reason": event.reason, "usage": event.usage.as_dict()}


@dataclass(frozen=True, slots=True)
class _Decoder:
    """A transformers tokenizer as the text layer wants it: nothing tidied up after the fact."""

    tokenizer: Any

    def decode(self, ids: list[int], /, *, skip_special_tokens: bool) -> str:
        text: str = self.tokenizer.decode(
            ids, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False
        )
        return text


def _stops(stop: str | Sequence[str]) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if "" in stops:
        raise BadRequest("a stop string is empty; give at least one character")
    return stops


def _render(model: LoadedModel, prompt: Prompt, raw: bool) -> list[int]:
    tokenizer = model.tokenizer
    if raw:
        if not isinstance(prompt, str):
            raise BadRequest("a raw prompt is plain text, not a list of messages")
        return list(tokenizer.encode(prompt))
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if not any(str(message.get("content", "")).strip() for message in messages):
        raise BadRequest("the prompt is empty; say what should be answered")
    if not tokenizer.chat_template:
        raise BadRequest(
            f"{model.source} has no chat template; pass raw=True (--raw) for plain text"
        )
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise BadRequest(f"{model.source}'s chat template refuses the messages: {error}") from error
    return list(tokenizer.encode(text, add_special_tokens=False))


def load(
    pair: str = "builtin",
    *,
    slm: str | None = None,
    llm: str | None = None,
    tau: float | None = None,
    trust_remote_code: bool = False,
    **settings: Any,
) -> Stitch:
    """Load two models to write together: a named pair, or `slm` and `llm` as directories or ids.

    settings are the fields of `rstitch.config.EngineConfig`. Raises BadModel, BadPair or BadRequest
    that name what is wrong and the remedy.
    """
    config = _config(settings)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if (slm is None) != (llm is None):
        raise BadRequest("give both slm and llm, or neither for a named pair")
    if slm is None or llm is None:
        known = preset(pair)
        slm, llm = known.slm, known.llm
        tau = known.tau if tau is None else tau
    models = {
        Side.SLM: load_model(slm, config, trust_remote_code=trust_remote_code),
        Side.LLM: load_model(llm, config, trust_remote_code=trust_remote_code),
    }
    check_vocabularies(models[Side.SLM], models[Side.LLM])
    return Stitch(models, config, 0.02 if tau is None else tau)


def _config(settings: dict[str, Any]) -> EngineConfig:
    known = EngineConfig.__dataclass_fields__
    for name in settings:
        if name not in known:
            raise BadRequest(f"unknown setting {name!r}; known: {', '.join(known)}")
    return replace(EngineConfig(), **settings)
