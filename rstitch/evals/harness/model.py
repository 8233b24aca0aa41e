"""The harness's model: a pair, under any method that answers many questions at once.

Chat messages travel through the harness as one JSON text, since each side renders them by its own
template with its own suffix.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from rstitch.config import EngineConfig
from rstitch.errors import BadRequest
from rstitch.evals import drive
from rstitch.evals.harness.asked import Asked, asked
from rstitch.evals.harness.told import Told
from rstitch.evals.methods import Method, make, parse
from rstitch.evals.methods.base import Question, Written
from rstitch.evals.seeds import seed_of
from rstitch.text import split_reasoning
from rstitch.types import Side

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
except ImportError as error:
    raise BadRequest(
        "lm-evaluation-harness is not installed: pip install 'rstitch[harness]'"
    ) from error

MESSAGES = '{"rstitch_messages": '
"""How a text begins that holds chat messages."""
THINKING = ("strip", "keep")
MAX_TOKENS = 4096
"""Of an answer, where neither task nor model_args say: reasoning does not fit the usual 256."""


@register_model("rstitch")
class Stitched(LM):  # type: ignore[misc]  # lm_eval is not typed
    """A pair of models that write together. Arguments are `--model_args`."""

    def __init__(
        self,
        pair: str = "builtin",
        slm: str | None = None,
        llm: str | None = None,
        method: str = "stitched",
        tau: float | str | None = None,
        thinking: str = "strip",
        max_gen_toks: int = MAX_TOKENS,
        seed: int = 0,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        **more: Any,
    ) -> None:
        """method: as of `rstitch eval`, whose parameters follow as arguments of their own
        (method=window,window=8). thinking: strip gives tasks what follows the thought, keep all.
        batch_size above 1: answers in flight; 1 and auto are the engine's own, which changes none
        of them. Further arguments are settings of the engine: device, dtype, ..."""
        from rstitch.api import load

        super().__init__()
        if thinking not in THINKING:
            raise BadRequest(f"thinking is {thinking!r}; it must be strip or keep")
        known = {one.name for one in fields(EngineConfig)}
        settings = {key: value for key, value in more.items() if key in known}
        settings["device"] = _device(device)
        params = {key: value for key, value in more.items() if key not in known}
        rows = int(str(batch_size)) if str(batch_size).isdecimal() else 1
        if rows > 1:
            settings.setdefault("max_rows", rows)
        name, own = parse(method)
        if tau is not None and name != "stitched":
            params["tau"] = tau
        self.method = _usable(make(name, **own, **params), method)
        self.thinking, self.max_gen_toks, self.seed = thinking, max_gen_toks, seed
        self.stitch = load(pair, slm=slm, llm=llm, tau=tau, **settings)
        self.method.check(self.stitch)

    # -- what the harness asks ---------------------------------------------------------------------

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Many in flight; the texts in the order of the requests."""
        from tqdm import tqdm

        found: dict[int, str] = {}
        bar = tqdm(total=len(requests), disable=disable_tqdm, desc="rstitch", file=sys.stderr)
        todo = self._asked(requests)
        jobs = (
            (at, Told(self.method, one, stops=self._stops(one)), self._question(one, at))
            for at, one in enumerate(todo)
        )
        with bar:
            for at, written, _ in drive.many(self.stitch, jobs, self.stitch.engine.config.max_rows):
                if written.reason == "failed":
                    raise BadRequest(f"request {at}: {written.extra['error']}")
                found[at] = self._text(written, todo[at])
                if not todo[at].again:
                    self.cache_hook.add_partial("generate_until", requests[at].args, found[at])
                bar.update()
        return [found[at] for at in range(len(requests))]

    def loglikelihood(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        raise self._no_likelihood(requests)

    def loglikelihood_rolling(self, requests: Sequence[Any], **_: Any) -> list[float]:
        raise self._no_likelihood(requests)

    def _no_likelihood(self, requests: Sequence[Any]) -> BadRequest:
        names = sorted({str(one.task_name) for one in requests if one.task_name}) or ["this task"]
        return BadRequest(
            f"{', '.join(names)} asks for likelihoods, which an answer of two models has not; take "
            "tasks that generate (output_type: generate_until), or one side with --model hf"
        )

    @property
    def tokenizer_name(self) -> str:
        """Of both sides: cached requests hold messages, not a template's text."""
        return "-".join(self.stitch.models[side].source for side in sorted(self.stitch.models))

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The LLM's, for the record. Raises BadRequest for a named one."""
        if isinstance(chat_template, str):
            raise BadRequest(f"--apply_chat_template {chat_template}: no named templates; leave it")
        return str(self.stitch.models[Side.LLM].tokenizer.chat_template or "")

    def apply_chat_template(
        self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The messages themselves; one that is begun (an assistant's last) goes on."""
        return MESSAGES + json.dumps(list(chat_history), ensure_ascii=False) + "}"

    def get_model_info(self) -> dict[str, Any]:
        """For the results file: whose answers these are."""
        from rstitch.evals.machine import model

        one = {side.label: model(m.source, m.revision) for side, m in self.stitch.models.items()}
        return {"rstitch": {"method": self.method.spec(), "tau": self.stitch.tau, **one}}

    # -- between its words and ours ----------------------------------------------------------------

    def _asked(self, requests: Sequence[Any]) -> list[Asked]:
        """Each with how often the same was asked before: repeats are samples."""
        seen: dict[str, int] = {}
        found = []
        for request in requests:
            context, given = request.args
            one = asked(given, self.stitch.defaults.sampling, self.max_gen_toks)
            again = seen[context] = seen.get(context, -1) + 1
            messages = json.loads(context)["rstitch_messages"] if _is_chat(context) else None
            found.append(replace(one, text=context, messages=messages, again=again))
        return found

    def _question(self, one: Asked, at: int) -> Question:
        """With a seed of its own: of this model's seed, what is asked, and how often before."""
        seed = seed_of(self.seed, one.text, one.again)
        sampling = one.sampling if one.sampling.seed is not None else replace(
            one.sampling, seed=seed
        )  # fmt: skip
        return Question(at, one.words, sampling, one.max_tokens)

    def _stops(self, one: Asked) -> tuple[str, ...]:
        """What the engine stops at. Where the thought is stripped, none: `until` is meant for the
        answer, and a blank line within the thought would end it."""
        return one.until if self.thinking == "keep" or one.messages is None else ()

    def _text(self, written: Written, one: Asked) -> str:
        if self.thinking == "keep" or one.messages is None:
            return written.text
        text = split_reasoning(written.text, started_inside=written.inside).answer.lstrip()
        for stop in one.until:
            text = text.partition(stop)[0]
        return text


def _device(given: str | None) -> str:
    """The harness's command line says cuda:0 where its user says nothing."""
    import torch

    if given == "cuda:0" and not torch.cuda.is_available():
        return "cpu"
    return given or EngineConfig().device


def _usable(method: Method, label: str) -> Method:
    """Raises BadRequest for what needs more than a question."""
    if not method.batches:
        raise BadRequest(f"method={label} answers one question at a time; use rstitch eval")
    if not method.asks:
        raise BadRequest(f"method={label} writes beside the pair's engine; use rstitch eval")
    unsettled = [key for key, value in method.spec().items() if value is None and key != "tau"]
    if method.control or unsettled:
        what = f" for {unsettled[0]}" if unsettled else ""
        raise BadRequest(f"method={label} is settled on a pilot{what}, which rstitch eval has")
    return method


def _is_chat(context: str) -> bool:
    return context.startswith(MESSAGES)
