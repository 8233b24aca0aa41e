"""What an analysis of a recording found, in sentences; what it lacks is left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

SENSES = (
    ("h1", "the LLM's token there, and the SLM's going on from it, gives a right answer"),
    ("h2", "the LLM going on before the token is right, and after it wrong"),
)


def facts(found: Mapping[str, Any]) -> list[str]:
    """Entropies in both units."""
    nats = math.log(found["vocabulary"])
    return [
        *_entropies(found.get("entropy") or {}, nats),
        *_lengths(found.get("lengths") or {}),
        *_agreement(found.get("agreement") or {}),
        *_silent(found.get("harm") or {}, found["tau"], nats),
        *_overwritten(found.get("overwritten") or {}),
        *_speculation(found.get("speculation") or {}),
    ]


def _entropies(entropy: Mapping[str, Any], nats: float) -> Iterator[str]:
    for side in ("slm", "llm"):
        one = entropy.get(side)
        if not one or one.get("mean") is None:
            continue
        told = f"Mean entropy of the {side.upper()}'s tokens: {_both(one['mean'], nats)}"
        medians = [
            f"{name} answers {_both(part['median'], nats)} (n = {part['n']})"
            for name in ("right", "wrong")
            if (part := one.get(name)) and part.get("median") is not None
        ]
        yield told + (f"; median over {', '.join(medians)}." if medians else ".")


def _both(value: float, nats: float) -> str:
    return f"{value:.3g} ({value * nats:.3g} nats)"


def _lengths(lengths: Mapping[str, Any]) -> Iterator[str]:
    if lengths.get("both_right"):
        yield (
            f"Where both are right ({lengths['both_right']} problems) the SLM writes "
            f"{lengths['slm']:.0f} tokens and the LLM {lengths['llm']:.0f}, "
            f"{lengths['ratio']:.2f} times as many."
        )


def _agreement(agreement: Mapping[str, Any]) -> Iterator[str]:
    for key, text in (("on_llm_text", "the LLM's"), ("on_slm_text", "the SLM's")):
        if agreement.get(key) is not None:
            yield f"The likeliest token of both is the same on {agreement[key]:.1%} of {text} text."


def _silent(harm: Mapping[str, Any], tau: float, nats: float) -> Iterator[str]:
    for sense, meaning in SENSES:
        one = harm.get(sense)
        if not one or not one.get("found") or one.get("silent") is None:
            continue
        low, high = one.get("interval") or (None, None)
        within = f" ({low:.1%} to {high:.1%})" if low is not None and high is not None else ""
        yield (
            f"Silent errors: of {one['found']} harmful tokens ({meaning}) in {harm['wrong']} wrong "
            f"answers of the SLM, {one['silent']:.1%}{within} were written at an entropy of at "
            f"most tau = {_both(tau, nats)}, where the plain rule does not ask the LLM."
        )


def _overwritten(overwritten: Mapping[str, Any]) -> Iterator[str]:
    if overwritten.get("n") is not None:
        names = list(overwritten.get("problems") or [])
        listed = f": {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else ""
        yield (
            f"Answers that the SLM alone gets right and stitching does not: "
            f"{overwritten['n']}{listed}."
        )


def _speculation(speculation: Mapping[str, Any]) -> Iterator[str]:
    pairs, rho = speculation.get("pairs"), speculation.get("rho")
    if pairs:
        known = "" if rho is None else f"; rank correlation with agreement {rho:.2f}"
        yield (
            f"Speculative decoding is slower than the LLM alone on {speculation['slower']} of "
            f"{len(pairs)} problems{known}."
        )
