"""The Python face: `rstitch.load(...)`, then `generate`, `stream`, `batch`.

Each is a step of one ladder: `stream` yields pieces as they come, `generate` joins one stream,
`batch` runs many in flight at once. All of them talk to the engine through its seam.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

import torch

from rstitch import prompts, stops, units
from rstitch.config import EngineConfig
from rstitch.costs import LinearCosts
from rstitch.decoder import alike, decoder
from rstitch.defaults import Defaults
from rstitch.driver import Driver
from rstitch.engine import vocabulary
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.loader import LoadedModel
from rstitch.engine.marks import Marks
from rstitch.engine.request import Engine, Request
from rstitch.errors import BadRequest
from rstitch.pairs import bound, calibrated, models
from rstitch.pairs.check import before_loading, read_pair, suffixes_of
from rstitch.pairs.chosen import choose, defaults
from rstitch.policy import Policy, make
from rstitch.policy import load as load_policy
from rstitch.prompts import Prompt, starts_thinking
from rstitch.remote import side as remote
from rstitch.remote.engine import RemoteEngine
from rstitch.remote.side import RemoteSide
from rstitch.steering import Limits, priced, within
from rstitch.stream import Answer, Piece, Stream
from rstitch.trace import Trace
from rstitch.types import Sampling, Side

__all__ = ["Answer", "Piece", "Stitch", "Stream", "load"]


class Stitch:
    """Two loaded models. A context manager; `close` cancels what is in flight."""

    def __init__(
        self,
        models: dict[Side, LoadedModel],
        config: EngineConfig,
        defaults: Defaults,
        suffixes: Mapping[Side, str] | None = None,
    ) -> None:
        self.models = models
        self.defaults = defaults
        """Used where a call gives neither tau nor policy, or no sampling."""
        self.suffixes = suffixes or {}
        """What each side alone gets to read after the last user message."""
        self._alike = not self.suffixes and alike([model.tokenizer for model in models.values()])
        self.tokenizer = models[max(models)].tokenizer
        """The LLM's."""
        self.decoders = {s: decoder(models.get(s, models[max(models)]).tokenizer) for s in Side}
        """Each side's ids as text; the other's for a side that is not there."""
        words = {side: model.vocabulary for side, model in models.items()}
        slm, llm = words[min(words)], words[max(words)]
        self.ends = {Side.SLM: vocabulary.ends(slm, llm), Side.LLM: vocabulary.ends(llm, slm)}
        """Tokens that end an answer, per side."""
        runners = {side: model.runner for side, model in models.items()}
        self.engine: Engine = _engine(config, runners)(
            runners,
            self.ends,
            config,
            self.decoders,
            translation=vocabulary.translation(slm, llm),
            marks=_marks(models),
        )
        self._driver = Driver(self.engine)

    @property
    def tau(self) -> float:
        return self.defaults.tau

    @property
    def in_process(self) -> InProcessEngine:
        """The engine, for what needs the models in this process. Raises BadRequest if not."""
        if not isinstance(self.engine, InProcessEngine):
            raise BadRequest(
                f"this needs the models in this process; engine is {self.engine.config.engine!r}, "
                "use 'torch', and leave process out"
            )
        return self.engine

    def __enter__(self) -> Stitch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what is in flight. Streams keep what they have, and end."""
        self._driver.close()

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
        tau: float | str | None = None,
        policy: Policy | str | None = None,
        sampling: Sampling | None = None,
        max_tokens: int = 512,
        stop: str | Sequence[str] = (),
        raw: bool = False,
        stop_token_ids: Iterable[int] = (),
        ignore_eos: bool = False,
        top_logprobs: int = 0,
        begun: Sequence[int] = (),
        max_llm_share: float | None = None,
        max_llm_tokens: int | None = None,
        deadline: float | None = None,
        reuse: str | None = None,
        meta: dict[str, Any] | None = None,
    ) -> list[Stream]:
        """Streams of n samples of one prompt; sample i draws by `types.sample_seed(seed, i)`.

        tau: entropy threshold (or "0.24nats"), the pair's own by default; or a policy, by object,
        by the name of one without required parameters, or as path.py:Class, whose code is then run.
        sampling: the pair's own by default. raw: the prompt is plain text, no chat template and no
        suffix. stop_token_ids end the answer beside the models' own end of text, which ignore_eos
        ignores. begun: tokens with which the answer begins already, as the LLM's ids; they are read
        after the prompt and are not part of what is written. max_llm_share (0 to 1), max_llm_tokens
        and deadline (seconds) hold tau's rule within limits (docs/policies.md). reuse: any name,
        such as ""; KV that ended answers of that name have left is not computed again where the
        prompt begins like theirs, as the next turn of a chat does, and is left for the next; not
        with n > 1. meta goes into the trace. Raises BadRequest for what can never be served.
        """
        limits = Limits(max_llm_share, max_llm_tokens, deadline)
        rule = self._within(limits, self.policy(tau, policy), max_tokens, (tau, policy))
        bound.check(rule, self.models)
        request = Request(
            sampling=self._seeded(sampling),
            prompts=self.begun(self.prompts(prompt, policy=rule, raw=raw), begun),
            policy=rule,
            max_tokens=max_tokens,
            stop=stops.texts(stop),
            stop_token_ids=stops.token_ids(stop_token_ids),
            ignore_eos=ignore_eos,
            top_logprobs=top_logprobs,
            n=n,
            reuse=reuse,
        )
        traces = self._opened(request, meta or {})
        return [Stream(self._driver, self.decoders, trace) for trace in traces]

    def _seeded(self, sampling: Sampling | None) -> Sampling:
        """What was asked for or the pair's own, with a seed. Raises BadRequest for no Sampling."""
        if not isinstance(sampling, Sampling | None):
            raise BadRequest(
                f"sampling is {sampling!r}; give rstitch.types.Sampling(temperature=1.0)"
            )
        return (sampling or self.defaults.sampling).seeded()

    def _opened(self, request: Request, meta: dict[str, Any]) -> list[Trace]:
        """Submit it; the trace of each sample, in which there is nothing yet."""
        return [
            Trace(
                id=name,
                policy=request.policy.spec(),
                sampling=replace(request.sampling, seed=seed),
                prompts=dict(request.prompts),
                models={side.label: self.models[side].source for side in request.prompts},
                meta=meta,
            )
            for name, seed in self._driver.open(request)
        ]

    def prompts(
        self, prompt: Prompt, *, policy: Policy, raw: bool = False
    ) -> dict[Side, tuple[int, ...]]:
        """The prompt as token ids for each side the policy uses, by that side's own template."""
        sides = {
            side: (self.models[side].source, self.models[side].tokenizer)
            for side in policy.sides()
            if side in self.models
        }
        one = dict([*sides.items()][-1:]) if self._alike else sides
        if raw:
            ids = prompts.render_raw(prompt, one)
        else:
            ids = prompts.render(prompt, one, self.suffixes)
        return ids if len(ids) == len(sides) else dict.fromkeys(sides, *ids.values())

    def begun(
        self, prompts: dict[Side, tuple[int, ...]], begun: Sequence[int]
    ) -> dict[Side, tuple[int, ...]]:
        """The prompts, each with the beginning of the answer in that side's own ids."""
        read, found = self.engine.translation, {}
        for side, ids in prompts.items():
            ours = [token if read is None else read.read(side, token, Side.LLM) for token in begun]
            if None in ours:
                lost = begun[ours.index(None)]
                raise BadRequest(f"begun has token {lost}, for which the {side.name} has none")
            found[side] = (*ids, *(token for token in ours if token is not None))
        return found

    def starts_thinking(self, prompts: Mapping[Side, Sequence[int]]) -> bool:
        """Whether a prompt, as `prompts` makes it, has opened the <think> block already."""
        return starts_thinking(self.decoders, prompts)

    def normalised(self, tau: float | str) -> float:
        """tau as a policy takes it: "0.24nats" is divided by ln V of the LLM."""
        found = units.normalised(tau, self.models[max(self.models)].vocabulary.size)
        return found  # type: ignore[return-value]  # a text in no unit is for the policy to refuse

    def measure(self) -> LinearCosts:
        """Measure what a step costs on each side, with one row and with several: `costs` for
        `save_profile`, whose file spares later loads the measuring. Nothing may be in flight.

        Raises BadRequest where something is.
        """
        if not self.engine.idle:
            raise BadRequest("answers are being written; measure before the first, or after all")
        return self.engine.measure()

    def policy(self, tau: float | str | None, policy: Policy | str | None) -> Policy:
        """What `streams` makes of tau and policy."""
        if not isinstance(policy, Policy | str | None):
            raise BadRequest(f"policy is {policy!r}; give a policy or the name of one, such as slm")
        if tau is not None and policy is not None:
            name = policy if isinstance(policy, str) else policy.name
            raise BadRequest(f"give tau ({tau}) or policy ({name}), not both")
        if policy is None:
            return make("entropy", tau=self.tau if tau is None else self.normalised(tau))
        return load_policy(policy) if isinstance(policy, str) else policy

    def _within(
        self, limits: Limits, rule: Policy, most: Any, named: tuple[object, object]
    ) -> Policy:
        """The rule, held to the limits. named: the tau or policy that the caller gave, if any."""
        return within(
            limits,
            rule,
            self.defaults.habits,
            most=most if isinstance(most, int) else 1,  # of another type it is refused later on
            chosen=named != (None, None),
            prices=self._prices,
        )

    def _prices(self) -> dict[str, float]:
        """What passes cost as seen lately, or measured now where none was seen."""
        with self._driver.turn():
            engine, stats = self.engine, self.engine.stats()
            together = min(engine.config.max_rows, stats["active"] + stats["queued"] + 1)
            if not all(engine.seconds(side, 1) for side in Side):
                self.measure()
            return priced(engine, together)


def _engine(config: EngineConfig, runners: Mapping[Side, Any]) -> Callable[..., Engine]:
    """The class of engine that runs the models."""
    if config.engine == "vllm":
        from rstitch.vllm.engine import VllmEngine

        return VllmEngine
    if any(isinstance(one, RemoteSide) for one in runners.values()):
        return RemoteEngine
    return InProcessEngine


def _marks(models: dict[Side, LoadedModel]) -> Marks:
    """What policies may know about tokens: the marks of thoughts, and where steps end."""
    think: dict[Side, tuple[int, int]] = {}
    for side, model in models.items():
        words = model.vocabulary
        opens, closes = (words.playing(r) for r in (vocabulary.THINK_OPEN, vocabulary.THINK_CLOSE))
        if opens is not None and closes is not None:
            think[side] = opens, closes
    return Marks(think, {side: decoder(model.tokenizer) for side, model in models.items()})


def load(
    pair: str = "builtin",
    *,
    slm: str | None = None,
    llm: str | None = None,
    tau: float | str | None = None,
    suffix: Mapping[str, str] | None = None,
    trust_remote_code: bool = False,
    process: bool = False,
    **settings: Any,
) -> Stitch:
    """Load two models to write together: a named pair, or `slm` and `llm` as directories or ids;
    both a name and models: what is known of the pair, with these models.

    tau may be in nats ("0.24nats"). suffix: what "slm" or "llm" alone gets to read after the last
    user message, before the pair's own. process: they run in a process of their own, so that what
    else this one does costs them nothing; on vLLM they always do. settings are the fields of
    `rstitch.config.EngineConfig`.
    Raises BadModel, BadPair or BadRequest that name what is wrong and the remedy.
    """
    config = EngineConfig.of(settings)
    known = choose(pair, slm, llm)
    models.check_machine(known, config)
    calibrated.check(known)
    suffixes = suffixes_of(known, suffix or {})
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    files = read_pair(known, config, trust_remote_code=trust_remote_code)
    said = defaults(known, files[Side.LLM], tau)
    if process and config.engine != "vllm":
        there = {"pair": pair, "slm": slm, "llm": llm, "trust_remote_code": trust_remote_code}
        return Stitch(remote.load(files, {**there, **settings}), config, said, suffixes)
    before_loading(files, config)
    loaded = {side: models.load(files[side], config, side) for side in Side}
    return Stitch(loaded, config, said, suffixes)
