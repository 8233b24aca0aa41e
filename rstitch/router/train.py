"""A training run: paired rollouts, the supervised start, DAPO, the choice on dev, the file.

`--out DIR` is a run directory like an evaluation's: config.json and a line in records.jsonl for
everything that is finished, beside them state.pt (network and optimiser after the last step), and
in the end the router itself. Killed at any moment, the same command goes on where it was.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rstitch.costs import LinearCosts
from rstitch.errors import BadRequest, BadRun
from rstitch.evals import directory
from rstitch.evals.directory import Run
from rstitch.evals.seeds import seed_from
from rstitch.files import replaced
from rstitch.policy import make
from rstitch.policy.lambdas import shift_of
from rstitch.policy.network import save
from rstitch.router import labels, step
from rstitch.router.card import card_of
from rstitch.router.plan import FRONTIER, Plan
from rstitch.router.policies import Held, held
from rstitch.router.prices import PassPrices, measured
from rstitch.router.problems import Graded
from rstitch.router.trial import Trial, tried
from rstitch.router.warm import Trainable, fit

if TYPE_CHECKING:
    from rstitch.api import Stitch

Tell = Callable[[str, int, int], None]
STATE = "state.pt"
PAIRED_SHARE = 0.5
"""Of the time for paired rollouts, where DAPO comes after them."""


@dataclass
class Training:
    """One run, as its parts share it."""

    stitch: Stitch
    plan: Plan
    train: Sequence[Graded]
    dev: Sequence[Graded]
    out: Path
    tell: Tell
    prices: PassPrices
    run: Run
    started: float = field(default_factory=time.monotonic)

    def late(self, share: float = 1.0) -> bool:
        return time.monotonic() - self.started > 60 * self.plan.minutes * share


def train(
    stitch: Stitch,
    plan: Plan,
    train: Sequence[Graded],
    dev: Sequence[Graded],
    out: Path,
    about: Mapping[str, Any],
    costs: LinearCosts | None,
    tell: Tell,
) -> dict[str, Any]:
    """Begin a training or go on with it, to its end; the router's card. about: the pair and its
    hashes, part of what must not change. costs are measured, once per run, where None is given.

    Raises BadRun for a directory that is something else, BadRequest where nothing can be learnt.
    """
    asked = {**plan.asked(), **about}
    directory.begin(out, asked)
    file = directory.claim(out)
    try:
        if directory.begin(out, asked) is None:
            found = costs or measured(stitch)
            told = {"base": list(found.base), "per_row": list(found.per_row)}
            directory.create(out, asked, {"prices": told})
    except BaseException:
        os.close(file)
        raise
    with directory.opened(out, file) as run:
        told = run.config["methods"]["prices"]
        known = LinearCosts(tuple(told["base"]), tuple(told["per_row"]))
        one = Training(stitch, plan, train, dev, out, tell, PassPrices(known), run)
        return _carried_out(one, about)


def _carried_out(one: Training, about: Mapping[str, Any]) -> dict[str, Any]:
    paired = labels.all_of(one.stitch, one.plan, one.train, one.run, one.tell, _late(one))
    gate = _tried(one, "gate", make("entropy", tau=one.plan.tau))
    reference = gate.mean_seconds
    warm = _warm(one, paired)
    hand_off = one.prices.hand_off / reference

    def at(price: float) -> Trainable:
        return shifted(warm, shift_of(price, hand_off, 1.0))

    candidates = {"warm": at(one.plan.price)}
    if one.plan.steps:
        candidates["dapo"] = _dapo(one, at(one.plan.price), reference)
    trials = {name: _tried(one, name, _rule(one, model)) for name, model in candidates.items()}
    best = max(trials, key=lambda name: _mean(trials[name].rewards(one.plan.price, reference)))
    frontier = [
        {"lambda": price, **_tried(one, f"lambda {price:g}", _rule(one, at(price))).told()}
        for price in FRONTIER
    ]
    card = card_of(one.plan, paired, one.run, gate, trials, best, frontier, about)
    save(one.out, candidates[best].network(), card)
    return card


def _late(one: Training) -> Callable[[], bool]:
    return lambda: one.late(PAIRED_SHARE if one.plan.steps else 1.0)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def shifted(model: Trainable, shift: float) -> Trainable:
    """A copy whose log-odds are higher by that much."""
    copy = model.copy()
    with torch.no_grad():
        copy.last.bias.add_(shift)
    return copy


def _rule(one: Training, model: Trainable) -> Held:
    return Held(file=held(model.network(), "dev"), tau=one.plan.tau)


def _tried(one: Training, name: str, rule: Any) -> Trial:
    """A rule on dev, once per run."""
    for record in one.run.records:
        if record["type"] == "dev" and record["name"] == name:
            return Trial(**{key: tuple(value) for key, value in record["trial"].items()})
    found = tried(
        one.stitch,
        one.dev,
        rule,
        one.prices,
        one.plan.max_tokens,
        lambda done, total: one.tell(f"dev, {name}", done, total),
    )
    fields = {key: getattr(found, key) for key in Trial.__dataclass_fields__}
    one.run.add({"type": "dev", "name": name, "trial": fields})
    return found


def _warm(one: Training, paired: Sequence[Any]) -> Trainable:
    seen, harm, problem = labels.seen_of(one.stitch, one.train, paired)
    if not len(seen):
        raise BadRequest(
            f"at tau {one.plan.tau} the SLM is sure everywhere, so there is nothing to decide; "
            "lower --tau"
        )
    return fit(seen, harm, problem, one.plan.shape, one.plan.seed, one.tell)


# -- DAPO -----------------------------------------------------------------------------------------


def _dapo(one: Training, model: Trainable, reference: float) -> Trainable:
    """All steps, from the state that was kept."""
    settings = replace(one.plan.settings, price=one.plan.price)
    optimiser = torch.optim.AdamW(model.parameters(), settings.rate, weight_decay=0.0)
    done = _read_state(one.out / STATE, model, optimiser)
    told = {r["step"] for r in one.run.records if r["type"] == "step"}
    over = any(r["type"] == "over" for r in one.run.records)
    for at in range(done, one.plan.steps):
        if over or one.late():
            if not over:
                one.run.add({"type": "over", "step": at})
            break
        one.tell("DAPO", at, one.plan.steps)
        found, about = step.groups(
            one.stitch,
            one.train,
            model,
            settings,
            one.plan.tau,
            one.prices,
            reference,
            one.plan.seed,
            at,
            one.plan.max_tokens,
        )
        if found:
            batch = step.batch_of(one.stitch, found, settings, reference, one.plan.max_tokens)
            step.update(model, optimiser, batch, settings, seed_from(one.plan.seed, "rows", at))
        _write_state(one.out / STATE, model, optimiser, at + 1)
        if at not in told:
            one.run.add({"type": "step", "step": at, **about})
    one.tell("DAPO", one.plan.steps, one.plan.steps)
    return model


def _write_state(
    path: Path, model: Trainable, optimiser: torch.optim.Optimizer, steps: int
) -> None:
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "steps": steps}
    try:
        with replaced(path) as partial:
            torch.save(state, partial)
    except (OSError, RuntimeError) as error:
        raise BadRun(f"{path} cannot be written: {error}; make room, and go on") from error


def _read_state(path: Path, model: Trainable, optimiser: torch.optim.Optimizer) -> int:
    """Steps that are done; 0 where none was kept."""
    if not path.exists():
        return 0
    try:
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        return int(state["steps"])
    except (OSError, RuntimeError, LookupError, ValueError, pickle.UnpicklingError) as error:
        raise BadRun(f"{path} cannot be read; delete it to begin DAPO anew") from error
