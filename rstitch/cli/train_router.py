"""`rstitch train-router`: a network that decides which uncertain tokens are worth the LLM."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstitch.cli import evaluating, options
from rstitch.cli.groups import grouped
from rstitch.errors import BadRequest

if TYPE_CHECKING:
    from rstitch.evals.task import Problem
    from rstitch.router.plan import Plan

POLICY = "--policy router --param file="


@grouped
def train_router(
    out: evaluating.Out,
    opening: options.Opening,
    tuning: options.Tuning,
    task: Annotated[
        str,
        typer.Option(help="Problems to learn from: train, a path.jsonl, or path.py:Class."),
    ] = "train",
    dev: Annotated[str, typer.Option(help="Problems to choose on; a TASK as in eval.")] = "dev",
    problems: Annotated[int, typer.Option(min=1, help="Of the task, drawn by the seed.")] = 2000,
    dev_problems: Annotated[int, typer.Option(min=1, help="Of dev, evenly spread.")] = 500,
    price: Annotated[
        float,
        typer.Option(
            "--lambda", help="What the time of a plain stitched answer is worth, in correctness."
        ),
    ] = 0.1,
    tau: options.Tau = None,
    seed: evaluating.Seed = 0,
    steps: Annotated[int, typer.Option(min=0, help="Of reinforcement learning.")] = 40,
    warm_only: Annotated[
        bool, typer.Option("--warm-only", help="The supervised start alone; as --steps 0.")
    ] = False,
    minutes: Annotated[float, typer.Option(help="After which nothing further is begun.")] = 30.0,
    in_flight: Annotated[int, typer.Option(min=1, help="Answers in flight.")] = 64,
    max_tokens: evaluating.MaxTokens = 512,
    as_json: options.Json = False,
) -> None:
    """Train the router of R-Stitch+ for a pair; given again, a run goes on where it was."""
    from rstitch.costs import load_profile
    from rstitch.evals.verify import Verifier
    from rstitch.router.problems import graded, task_of

    if warm_only:
        steps = 0
    names = (task, dev)
    tasks = [task_of(name, **params) for name, params in map(_parsed, names)]
    plan = _plan(
        tasks, names, problems, dev_problems, tau=options.threshold(tau), price=price, seed=seed,
        steps=steps, minutes=minutes, max_tokens=max_tokens,
    )  # fmt: skip
    _check(out, tasks)
    with (
        opening.open(max_rows=in_flight, **tuning.settings()) as stitch,
        Verifier() as verifier,
        evaluating.progress() as tell,
    ):  # fmt: skip
        from rstitch.pairs.bound import models_of
        from rstitch.router.train import train

        card = train(
            stitch, plan, graded(tasks[0], verifier, plan.train),
            graded(tasks[1], verifier, plan.dev), out, {"models": models_of(stitch.models)},
            load_profile(tuning.profile) if tuning.profile else None, tell,
        )  # fmt: skip
    typer.echo(json.dumps({"router": str(out), **card}) if as_json else "\n".join(lines(card, out)))


def _parsed(name: str) -> tuple[str, dict[str, Any]]:
    from rstitch.evals.methods import parse

    return parse(name)


def _plan(
    tasks: Sequence[Any],
    names: Sequence[str],
    problems: int,
    dev_problems: int,
    *,
    tau: float | str | None,
    **given: Any,
) -> Plan:
    from rstitch.pairs.recipe.splits import spread
    from rstitch.router.plan import Plan
    from rstitch.router.problems import check_apart

    if isinstance(tau, str):
        raise BadRequest(f"--tau is {tau}; train-router takes it normalised, such as 0.02")
    every, dev = tasks[0].problems(), tasks[1].problems()
    plan = Plan(
        tuple(in_order(every, problems, given["seed"])), tuple(spread(dev, dev_problems)),
        TAU if tau is None else tau, **given,
    )  # fmt: skip
    check_apart(tasks[0], plan.train, dev, names[1])
    return plan


TAU = 0.02
"""A little below the pair's own: what the router can keep, it may be asked about more often."""


def in_order(every: Sequence[Problem], n: int, seed: int) -> list[Problem]:
    """In an order of the seed's, so that a part that is ended early is of all kinds."""
    return random.Random(seed).sample(list(every), len(every))[:n]


def _check(out: Path, tasks: Sequence[Any]) -> None:
    from rstitch.evals import directory, verify

    directory.check(out)
    if any(task.needs_verifier for task in tasks):
        verify.check()


def lines(card: dict[str, Any], out: Path) -> list[str]:
    """The result for a person."""
    data, dev = card["data"], card["dev"]
    chosen = dev[card["chosen"]]
    head = (
        f"{data['problems']} problems, {data['decisions']} decisions, of which "
        f"{data['harmful'] / max(1, data['decisions']):.1%} matter; {data['steps']} steps, "
        f"{data['rollouts']} rollouts"
    )
    rows = [("gate", dev["gate"]), *((n, dev[n]) for n in ("warm", "dapo") if n in dev)]
    rows += [(f"lambda {one['lambda']:g}", one) for one in card["frontier"]]
    table = [
        f"{name:<12} {100 * one['accuracy']:6.2f} % {1e3 * one['predicted_seconds']:8.2f} ms "
        f"{one['llm_share']:6.1%} {one['discards']:6.1f}"
        for name, one in rows
    ]
    return [
        head,
        f"{'on dev':<12} {'right':>8} {'predicted':>11} {'LLM':>6} {'asked':>6}",
        *table,
        f"chosen: {card['chosen']}, {dev['points']:+.2f} points ({dev['points_low']:+.2f}) and "
        f"{dev['faster']:.2f} times as fast as the gate at tau {card['tau']:g}, "
        f"{chosen['problems']} problems",
        f"{out}: use it with {POLICY}{out}",
    ]
