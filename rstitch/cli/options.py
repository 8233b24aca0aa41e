"""Options that several commands share, each written once; defaults come from the configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstitch.config import EngineConfig
from rstitch.errors import BadRequest
from rstitch.types import Sampling
from rstitch.units import nats

if TYPE_CHECKING:
    from rstitch.api import Stitch
    from rstitch.policy import Policy

DEFAULTS = EngineConfig()

Pair = Annotated[str, typer.Option(help="A named pair (see rstitch pairs) or a pair's TOML file.")]
Slm = Annotated[
    str | None, typer.Option(help="Small model: a directory, hub id, GGUF file or repo:file.")
]
Llm = Annotated[str | None, typer.Option(help="Large model: the same.")]
Tau = Annotated[
    str | None,
    typer.Option(
        help="Entropy threshold, 0 to 1, or in nats: 0.24nats; the pair's own if left out.",
        metavar="FLOAT",
    ),
]
SlmSuffix = Annotated[
    str | None, typer.Option(help="Text that the SLM alone reads after the last user message.")
]
LlmSuffix = Annotated[str | None, typer.Option(help="The same for the LLM.")]
Rule = Annotated[
    str | None,
    typer.Option(
        help="entropy, confidence, margin, window, hysteresis, phase, rewind, random, router, "
        "steered, slm, llm, an installed one, or path.py:Class; with parameters: router,file=DIR.",
    ),
]
Threads = Annotated[
    int | None, typer.Option(help="CPU threads of both models; what is fastest if left out.")
]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the steps first (slow start).")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Engine = Annotated[
    str, typer.Option(help="torch, llamacpp, vllm, or auto: GGUF files on llama.cpp.")
]
SlmVllm = Annotated[
    str, typer.Option(metavar="JSON", help="vLLM's own engine arguments for the SLM.")
]
LlmVllm = Annotated[str, typer.Option(metavar="JSON", help="The same for the LLM.")]
SlmThreads = Annotated[int | None, typer.Option(help="CPU threads of the SLM, on llama.cpp.")]
LlmThreads = Annotated[int | None, typer.Option(help="CPU threads of the LLM, on llama.cpp.")]
KVType = Annotated[
    str | None, typer.Option(help="KV on llama.cpp: f32, f16 or q8_0; by the file if left out.")
]
FlashAttention = Annotated[str, typer.Option(help="On llama.cpp: auto, on or off.")]
GpuLayers = Annotated[int, typer.Option(help="Layers on a GPU, on llama.cpp; -1 is all.")]
KVMemory = Annotated[
    float | None,
    typer.Option(help="GiB of KV memory for both sides; up to half of what is free if left out."),
]
Profile = Annotated[
    str | None, typer.Option(help="JSON file of step costs; they are measured if left out.")
]
Waiting = Annotated[
    str,
    typer.Option(help="When the LLM runs for several answers: table, eager, or fixed:6 (rows)."),
]
MaxRows = Annotated[int | None, typer.Option(help="Answers in flight at most; the others wait.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with the models.")
]
MaxWait = Annotated[float, typer.Option(help="Longest wait of an answer for its side, LLM steps.")]
OWN = "the pair's own if left out"
PresencePenalty = typer.Option(help="Taken from the logits of tokens the answer has, -2 to 2.")
FrequencyPenalty = typer.Option(help="The same for each time that it has the token.")
LogitBias = typer.Option(metavar="ID=VALUE", help="Added to that token's logit, -100 to 100.")
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@dataclass(frozen=True, slots=True)
class Opening:
    """Which pair, and on what: of every command that loads one."""

    pair: Pair = "builtin"
    slm: Slm = None
    llm: Llm = None
    threads: Threads = None
    dtype: Dtype = DEFAULTS.dtype
    device: Device = DEFAULTS.device
    engine: Engine = DEFAULTS.engine
    slm_vllm: SlmVllm = DEFAULTS.slm_vllm
    llm_vllm: LlmVllm = DEFAULTS.llm_vllm
    trust_remote_code: TrustRemoteCode = False

    def open(self, suffix: Mapping[str, str] | None = None, **settings: Any) -> Stitch:
        """Load the models; further settings are those of `EngineConfig`."""
        return open_pair(
            self.pair, self.slm, self.llm, suffix=suffix, threads=self.threads, dtype=self.dtype,
            device=self.device, engine=self.engine, slm_vllm=self.slm_vllm,
            llm_vllm=self.llm_vllm, trust_remote_code=self.trust_remote_code,
            **settings,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Within:
    """What one answer may take."""

    max_llm_share: Annotated[
        float | None, typer.Option(help="LLM tokens over all tokens of an answer at most, 0 to 1.")
    ] = None
    max_llm_tokens: Annotated[
        int | None, typer.Option(help="Tokens of an answer that the LLM writes, at most.")
    ] = None
    deadline: Annotated[
        float | None,
        typer.Option(help="Seconds for an answer; without the LLM once they are short."),
    ] = None

    def checked(self, rule: Policy | None) -> dict[str, Any]:
        """For `Stitch.streams`. Raises BadRequest for a policy that knows no limits."""
        from rstitch.steering import Limits, check

        given = asdict(self)
        check(Limits(**given), rule)
        return given


@dataclass(frozen=True, slots=True)
class Tuning:
    """What else a pair may be told."""

    slm_suffix: SlmSuffix = None
    llm_suffix: LlmSuffix = None
    kv_memory: KVMemory = DEFAULTS.kv_memory
    profile: Profile = DEFAULTS.profile

    def settings(self, *, raw: bool = False) -> dict[str, Any]:
        """For `Opening.open`."""
        return {
            "suffix": suffix(self.slm_suffix, self.llm_suffix, raw=raw),
            "kv_memory": self.kv_memory,
            "profile": self.profile,
        }


@dataclass(frozen=True, slots=True)
class Drawing:
    """How tokens are drawn."""

    temperature: Annotated[float | None, typer.Option(help=f"0 is greedy; {OWN}.")] = None
    top_k: Annotated[int | None, typer.Option(help=f"0 keeps all; {OWN}.")] = None
    top_p: Annotated[float | None, typer.Option(help=f"Nucleus; {OWN}.")] = None
    min_p: Annotated[float | None, typer.Option(help=f"Relative floor; {OWN}.")] = None
    seed: Annotated[int | None, typer.Option(help="Same seed, same tokens.")] = None
    presence_penalty: Annotated[float | None, PresencePenalty] = None
    frequency_penalty: Annotated[float | None, FrequencyPenalty] = None
    logit_bias: Annotated[list[str] | None, LogitBias] = None

    def settings(self) -> dict[str, Any]:
        """For `Sampling`, as far as they were given. Raises BadRequest for what it refuses."""
        bias = tuple(map(_bias, self.logit_bias)) if self.logit_bias else None
        names = [field.name for field in fields(self)]
        found = given(**{name: getattr(self, name) for name in names} | {"logit_bias": bias})
        Sampling(**found)
        return found


def _bias(text: str) -> tuple[int, float]:
    token, _, value = text.partition("=")
    if not (token.isascii() and token.isdigit()):
        raise BadRequest(f"--logit-bias is {text!r}; write it as ID=VALUE, such as 42=-100")
    return int(token), number(f"--logit-bias {token}", value) or 0.0


def number(name: str, text: str | None, also: str = "") -> float | None:
    """A float from an option. Raises BadRequest naming the option and the text."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise BadRequest(f"{name} is {text!r}; it must be a number such as 0.02{also}")
    return value


def at_least(least: int, **values: int | None) -> None:
    """Refuse a smaller number, by the name of its option."""
    for name, value in values.items():
        if value is not None and value < least:
            raise BadRequest(f"{name} is {value}; it must be at least {least}")


def given(**values: Any) -> dict[str, Any]:
    """The options that were used."""
    return {name: value for name, value in values.items() if value is not None}


def threshold(text: str | None, name: str = "--tau") -> float | str | None:
    """It as a number, or as it is where it is in nats, which only a loaded pair can convert."""
    if text is not None and nats(text) is not None:
        return text
    return number(name, text, also=", or 0.24nats")


def suffix(slm: str | None, llm: str | None, *, raw: bool = False) -> dict[str, str]:
    """What was given of --slm-suffix and --llm-suffix, by side; a raw prompt takes none."""
    given = {"slm": slm, "llm": llm}
    found = {side: text for side, text in given.items() if text is not None}
    if raw and found:
        raise BadRequest("--raw feeds the prompt as it is; leave out --slm-suffix and --llm-suffix")
    return found


def tell_tau(stitch: Stitch, given: float | str | None) -> None:
    """One line on stderr where nobody has said which tau suits the pair."""
    if given is None and not stitch.defaults.tau_is_known:
        typer.echo(stitch.defaults.tau_line, err=True)


def policy_of(name: str | None, params: list[str], tau: float | str | None = None) -> Policy | None:
    """`--policy random --param p=0.1 --param q=0.4` as a policy object; runs a file so named.

    tau is the parameter of that name of a policy that has one; `in_units` puts nats right.
    """
    from rstitch.policy import find_or_run
    from rstitch.policy.registry import build, is_needed

    if name is None:
        if params:
            raise BadRequest(f"--param {params[0]} needs --policy")
        return None
    name, *within = name.split(",")
    policy = find_or_run(name)
    texts = {f.name for f in fields(policy) if f.type in ("str", str)}  # type: ignore[arg-type]
    given: dict[str, float | str | None] = {}
    for param in [*within, *params]:
        key, equals, value = param.partition("=")
        if not equals:
            raise BadRequest(f"--param is {param!r}; write it as name=number")
        if key in texts:
            given[key] = value
            continue
        whole = value.strip().lstrip("+-").isdecimal()
        given[key] = int(value) if whole else number(f"--param {key}", value)
    taus = [f for f in fields(policy) if f.name == "tau"]  # type: ignore[arg-type]  # a dataclass
    if tau is not None:
        if not taus:
            raise BadRequest(f"give tau ({tau}) or policy ({name}), not both: it has no tau")
        if "tau" in given:
            raise BadRequest(f"give --tau {tau} or --param tau={given['tau']}, not both")
        given["tau"] = 0.0 if isinstance(tau, str) else tau
    elif "tau" not in given and any(map(is_needed, taus)):
        raise BadRequest(f"policy {name!r} needs a value for 'tau'; give --tau, such as --tau 0.02")
    return build(policy, name, given)


def in_units(stitch: Stitch, rule: Policy | None, tau: float | str | None) -> Policy | None:
    """The policy with --tau as a number, where that was in nats."""
    if rule is None or not isinstance(tau, str):
        return rule
    return replace(rule, tau=stitch.normalised(tau))  # type: ignore[type-var]  # a dataclass


def open_pair(
    pair: str,
    slm: str | None,
    llm: str | None,
    *,
    suffix: Mapping[str, str] | None = None,
    **settings: Any,
) -> Stitch:
    """Load the models that a command was asked for; settings are those of `EngineConfig`."""
    from rstitch.api import load
    from rstitch.costs import load_profile

    if settings.get("profile"):
        load_profile(settings["profile"])  # a wrong file is told before anything is loaded
        _tell_elsewhere(settings["profile"], settings)
    return load(pair, slm=slm, llm=llm, suffix=suffix, **settings)


def _tell_elsewhere(path: str, settings: Mapping[str, Any]) -> None:
    """A line on stderr where a profile is of another machine."""
    from rstitch.latency.profile import elsewhere

    line = elsewhere(path, {**asdict(DEFAULTS), **settings})
    if line:
        typer.echo(f"warning: {line}", err=True)
