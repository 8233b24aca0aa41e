"""R-Stitch+ against what it has to beat: the best tau, two thresholds, simpler routers, an oracle.

    python -m benchmarks.router --runs DIR [--quick] [--save] [--seeds 0,1,2] [--problems 4000]
        [--pair builtin] [--profile FILE] [--chosen FILE]

DIR holds a run of `rstitch train-router` per seed (DIR/seed-0, ...), which is made where it is not
there, for the built-in pair or another preset with its LLM (the bars are about the built-in one).
What each rule came to is kept in DIR/trials.jsonl, so a run that is interrupted goes on.
Each family of rules is tuned on dev alike: of its settings that are not inferior to the LLM alone
(lower end of the paired one-sided 95 % interval above -0.6 points, as `benchmarks.tau` has it), the
fastest. 1,000 problems cannot tell that from luck, so they only say which settings are tried on
4,000 (SHORTLIST of a family, the fastest that lose no more than that bound), where the choice is
made. Only what is chosen is run on test, of a seed that no choice has seen. --chosen takes over
what an earlier run's result says of dev and test, and goes on to the other splits. Seconds are
predicted from every forward pass (`rstitch.router.prices`), the same for all rules, so the
machine's load is in none of them; what the router's own network takes is not in them either, and is
timed apart. So a few problems are answered by the clock too, one at a time, by all rules in turn.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import rstitch
from benchmarks.acceptance import hindsight
from benchmarks.common import finish, parsed, parser, progress, rotated, say, show_bars
from benchmarks.trials import Trials
from benchmarks.veto import Veto
from rstitch.api import Stitch
from rstitch.costs import LinearCosts
from rstitch.evals import directory
from rstitch.evals.statistics import compare, ratio_interval
from rstitch.evals.verify import Verifier
from rstitch.pairs.recipe.splits import problems as drawn
from rstitch.pairs.recipe.splits import spread
from rstitch.policy import Policy, make
from rstitch.policy.network import features, read_card, read_network
from rstitch.router import labels
from rstitch.router.policies import Held, held
from rstitch.router.prices import PassPrices, Price
from rstitch.router.problems import Graded, graded, task_of
from rstitch.router.trial import Trial
from rstitch.router.warm import Shape, Trainable, fit

TAUS = (0.02, 0.03, 0.04, 0.05, 0.07, 0.1)
BACKS = (0.01, 0.03, 0.1, 0.3)
LAMBDAS = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2)
"""A router's dial; one network, which is trained at one of them."""
KEPT = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Of what simpler routers are asked on training problems."""
BOUND, GOAL, MAX_TOKENS = -0.6, 1.25, 400
SHORTLIST = 3
DEV_SEEDS, TEST_SEED = (0, 1), 4
"""Test seeds 0, 1 and 3 have been looked at before (docs/log.md)."""
EARLIER = ("dev", "settings_on_dev", "test")
"""What is taken over from an earlier result."""
OOD = ("ood-kind", "ood-depth", "ood-wording")


def trained(args: argparse.Namespace, seed: int) -> Path:
    """The run of that seed; trained if it is not there, gone on with if it is not whole."""
    out = args.runs / f"seed-{seed}"
    if not (out / "router.json").exists():
        words = ["train-router", "--pair", args.pair, "--out", str(out), "--seed", str(seed)]
        words += ["--max-tokens", str(MAX_TOKENS)]
        words += ["--profile", str(args.profile)] if args.profile else []
        words += ["--problems", "60", "--dev-problems", "40", "--steps", "1"] if args.quick else []
        subprocess.run([sys.executable, "-m", "rstitch", *words], check=True, stdout=sys.stderr)
    return out


def simpler(stitch: Stitch, run: Path, seed: int) -> Iterator[tuple[str, Policy]]:
    """Logistic regression on the run's own data, and a network that nobody trained."""
    with directory.opened(run) as found:
        kept = [one for r in found.records if r["type"] == "paired" for one in labels.read(r)]
        asked = found.config["asked"]
    card = read_card(str(run))
    with Verifier() as verifier:
        from rstitch.cli.train_router import in_order

        task = task_of("train")
        train = graded(task, verifier, in_order(task.problems(), asked["train"], asked["seed"]))
        seen, harm, problem = labels.seen_of(stitch, train, kept)
    logistic = fit(seen, harm, problem, Shape((), epochs=150, rate=1e-2), seed)
    inputs = features(seen.hidden, seen.entropy, seen.context)
    untrained = Trainable(inputs, Shape(), torch.Generator().manual_seed(seed))
    for name, model in (("logistic", logistic), ("untrained", untrained)):
        with torch.no_grad():
            scores = model(inputs)
        for share in KEPT:  # by share, since neither says odds that could be taken at their word
            shift = -float(torch.quantile(scores, share))
            file = held(model.network(shift), f"{name} {share} {seed}")
            yield f"{name},{share:g}", Held(file=file, tau=float(card["tau"]))


def families(
    stitch: Stitch, runs: Mapping[int, Path], thin: slice
) -> Iterator[tuple[str, str, Policy]]:
    """(family, setting, rule) of everything that is tuned on dev; of thresholds those of `thin`."""
    for tau in TAUS[thin]:
        yield "tau", f"{tau:g}", make("entropy", tau=tau)
    for tau in TAUS[thin][::2]:
        for back in BACKS[thin]:
            yield (
                "two thresholds",
                f"{tau:g}/{back:g}",
                make("hysteresis", tau_out=tau, tau_back=back),
            )
    for seed, run in runs.items():
        for price in LAMBDAS[thin]:
            yield f"router, seed {seed}", f"{price:g}", make("router", file=str(run), price=price)
    seed, run = next(iter(runs.items()))
    for name, rule in simpler(stitch, run, seed):
        yield name.split(",")[0], name.split(",")[1], rule


Row = tuple[str, Policy, Trial]
"""A setting, its rule, and what came of it."""


def shortlist(rows: Mapping[str, Row], alone: Trial) -> dict[str, Row]:
    """Of each family the fastest that lose no more than the bound, as far as a few problems tell;
    or else the most accurate."""
    kept: dict[str, Row] = {}
    for family in dict.fromkeys(key.partition("|")[0] for key in rows):
        members = {k: row for k, row in rows.items() if k.partition("|")[0] == family}
        able = [
            k for k, row in members.items() if compare(row[2].right, alone.right).points > BOUND
        ]
        fast = sorted(able, key=lambda k: members[k][2].mean_seconds)[:SHORTLIST]
        fast = fast or [max(members, key=lambda k: members[k][2].accuracy)]
        kept |= {k: members[k] for k in fast}
    return kept


def best(rows: Mapping[str, Row], alone: Trial) -> dict[str, Row]:
    """Of each family the fastest setting that holds the bound, or else the most accurate one."""
    found: dict[str, Row] = {}
    for family in dict.fromkeys(key.partition("|")[0] for key in rows):
        members = [row for key, row in rows.items() if key.partition("|")[0] == family]
        holds = [row for row in members if compare(row[2].right, alone.right).low > BOUND]
        pick = min(holds, key=lambda row: row[2].mean_seconds) if holds else None
        found[family] = pick or max(members, key=lambda row: row[2].accuracy)
    return found


def line(name: str, trial: Trial, gate: Trial) -> dict[str, Any]:
    """A rule beside the best tau on the same problems, said and kept."""
    against = compare(trial.right, gate.right)
    faster, low, high = ratio_interval(gate.seconds, trial.seconds)
    say(
        f"{name:<28} {100 * trial.accuracy:6.2f} % {against.points:+6.2f} ({against.low:+.2f}) "
        f"{1e3 * trial.mean_seconds:8.2f} ms {faster:5.2f}x ({low:.2f} to {high:.2f}) "
        f"{trial.llm_share:6.1%}"
    )
    return {
        **trial.told(), "points": against.points, "points_low": against.low,
        "faster": faster, "faster_low": low, "faster_high": high,
    }  # fmt: skip


def oracle(stitch: Stitch, tau: float, n: int, price: Price) -> dict[str, float]:
    """The ceiling: the gate at the best tau, with hindsight, on dev."""
    plain, veto = list[float](), list[float]()
    for i, one in enumerate(spread(drawn("dev"), n)):
        found = hindsight(stitch, one, tau)
        for seconds, positions in ((plain, ()), (veto, found.positions)):
            rule = Veto(tau, positions)
            answer = stitch.generate(one.question, policy=rule, max_tokens=MAX_TOKENS)
            seconds.append(price(answer.trace))
        progress(f"oracle {i + 1}/{n}")
    gain, low, high = ratio_interval(plain, veto)
    say(f"oracle on {n} dev problems: {gain:.2f}x ({low:.2f} to {high:.2f})")
    return {"faster": gain, "faster_low": low, "faster_high": high, "problems": n}


def by_the_clock(
    stitch: Stitch, chosen: Mapping[str, tuple[str, Policy]], n: int
) -> dict[str, dict[str, float]]:
    """Seconds of the best tau over each rule's, on n problems of dev."""
    asked = spread(drawn("dev"), n)
    seconds: dict[str, list[float]] = {family: [] for family in chosen}
    for number, one in enumerate([asked[0], *asked]):  # the first once more, to warm up
        for family in rotated(chosen, number):
            rule = chosen[family][1]
            answer = stitch.generate(one.question, policy=rule, max_tokens=MAX_TOKENS)
            if number:
                seconds[family].append(answer.usage.seconds)
        progress(f"by the clock {number}/{n}")
    found = {}
    for family, taken in seconds.items():
        faster, low, high = ratio_interval(seconds["tau"], taken)
        say(f"{family:<28} {faster:5.2f}x ({low:.2f} to {high:.2f}) by the clock, {n} dev problems")
        found[family] = {"faster": faster, "faster_low": low, "faster_high": high}
    return found


def network_seconds(run: Path, rounds: int = 2000) -> float:
    """Of one decision, one row in numpy: CPU seconds."""
    network = read_network(str(run))
    hidden = np.random.default_rng(0).standard_normal(network.width).astype(np.float32)
    started = time.process_time()
    for _ in range(rounds):
        network.one(hidden, 0.1, 100)
    return (time.process_time() - started) / rounds


def asked_of(name: str, n: int, verifier: Verifier, seeds: Sequence[int] = (0,)) -> list[Graded]:
    found = list[Graded]()
    for seed in seeds:
        task = task_of(name, seed=seed)
        found += graded(task, verifier, task.problems())
    return spread(found, n)


def named(
    stitch: Stitch, runs: Mapping[int, Path], settings: Mapping[str, str]
) -> dict[str, tuple[str, Policy]]:
    """The rules of those settings, by family."""
    every = families(stitch, runs, slice(None))
    return {f: (one, rule) for f, one, rule in every if settings.get(f) == one}


def tuned(
    trials: Trials, runs: Mapping[int, Path], n: int, quick: bool, verifier: Verifier
) -> tuple[dict[str, Row], dict[str, Row]]:
    """What is chosen of each family on n problems of dev, and everything that was tried there on a
    quarter of them (60 at least)."""
    thin = slice(None, None, 3 if quick else 1)
    few = asked_of("dev", max(60, n // 4), verifier)
    many = asked_of("dev", n, verifier, DEV_SEEDS)

    def run(rules: Mapping[str, tuple[str, Policy]], asked: Sequence[Graded]) -> dict[str, Row]:
        found: dict[str, Row] = {}
        for key, (setting, rule) in rules.items():
            found[key] = setting, rule, trials.of(asked, rule)
            progress(f"{len(asked)} of dev, {key}: {found[key][2].told()}")
        return found

    rules = {
        f"{family}|{one}": (one, rule) for family, one, rule in families(trials.stitch, runs, thin)
    }
    llm = {"llm": ("", make("llm"))}
    rows = run(rules, few)
    kept = shortlist(rows, run(llm, few)["llm"][2])
    finals = run({key: row[:2] for key, row in kept.items()}, many)
    chosen = best(finals, run(llm, many)["llm"][2])
    say(f"chosen on {len(many)} dev problems; against the best tau, {chosen['tau'][0]}")
    return chosen, rows


def main() -> None:
    options = parser(__doc__, "60 problems, one seed, a short training")
    options.add_argument("--runs", type=Path, required=True, help="where trainings are, or go")
    options.add_argument("--seeds", default="0,1,2")
    options.add_argument("--pair", default="builtin", help="a preset")
    options.add_argument("--profile", type=Path, help="prices of a training, of an idle machine")
    options.add_argument("--problems", type=int, default=4000, help="of dev and test")
    options.add_argument("--chosen", type=Path, help="an earlier result")
    args = parsed(options)
    seeds = [int(one) for one in args.seeds.split(",")][: 1 if args.quick else None]
    n_test, n_veto = (60, 2) if args.quick else (args.problems, 60)
    n_dev = 90 if args.quick else args.problems
    runs = {seed: trained(args, seed) for seed in seeds}
    found = read_card(str(runs[seeds[0]]))["prices"]
    price = PassPrices(LinearCosts(tuple(found["base"]), tuple(found["per_row"])))
    told: dict[str, Any]
    with rstitch.load(args.pair, max_rows=64) as stitch, Verifier() as verifier:
        trials = Trials(args.runs / "trials.jsonl", stitch, price, MAX_TOKENS)
        if args.chosen:
            before = json.loads(args.chosen.read_text())
            chosen = named(stitch, runs, before["chosen"])
            if set(chosen) != set(before["chosen"]) or before["prices"] != found:
                sys.exit(f"{args.chosen} is of other rules or prices than {args.runs} has")
            told = {key: value for key, value in before.items() if key.startswith(EARLIER)}
        else:
            best_of, rows = tuned(trials, runs, n_dev, args.quick, verifier)
            chosen = {key: (setting, rule) for key, (setting, rule, _) in best_of.items()}
            gate = best_of["tau"][2]
            told = {"dev": {k: line(f"{k} {v[0]}", v[2], gate) for k, v in best_of.items()}}
            told["settings_on_dev"] = {key: row[2].told() for key, row in rows.items()}
        if "test" not in told:
            test = asked_of("test", n_test, verifier, (TEST_SEED,))
            told["test"] = on_split(trials, test, f"test, seed {TEST_SEED}", chosen)
        for name in OOD:
            asked = asked_of(name, n_test // 4, verifier)
            told[name] = on_split(trials, asked, name, chosen)
        clocked = by_the_clock(stitch, chosen, 4 if args.quick else 200)
        ceiling = oracle(stitch, float(chosen["tau"][0]), n_veto, price)
    ratio, bars = judged(told["test"])
    micro = 1e6 * network_seconds(runs[seeds[0]])
    bars["at_most_40_microseconds"] = micro <= 40
    show_bars(bars)
    details = {"bars": bars, "chosen": {k: v[0] for k, v in chosen.items()}, **told}
    details |= {
        "oracle": ceiling,
        "by_the_clock": clocked,
        "network_microseconds": micro,
        "prices": found,
    }
    name = args.pair.replace("builtin", "router")
    finish(name, ratio, GOAL, details, args.save)


def judged(test: Mapping[str, Mapping[str, float]]) -> tuple[float, dict[str, bool]]:
    """The least speed over the best tau of the routers, and what it is held to."""
    routers = [r for k, r in test.items() if k.startswith("router")]
    rivals = [r for k, r in test.items() if not k.startswith("router") and k != "llm"]
    held_up = [r["faster"] for r in rivals if r["points_low"] > -1]
    ratio, low = (min(r[name] for r in routers) for name in ("faster", "points_low"))
    return ratio, {
        "not_worse_on_each_seed": low > -1,
        "1.25x_on_each_seed": ratio >= GOAL,
        "faster_than_each_control": ratio > max(held_up, default=1.0),
    }


def on_split(
    trials: Trials, asked: Sequence[Graded], name: str, chosen: Mapping[str, tuple[str, Policy]]
) -> dict[str, Any]:
    """What was chosen, and the LLM alone, on a split that nothing was chosen on."""
    say(f"{name}, {len(asked)} problems")
    rules = {**{k: v[1] for k, v in chosen.items()}, "llm": make("llm")}
    found = {}
    for family, rule in rules.items():
        found[family] = trials.of(asked, rule)
        progress(f"{name}, {family}")
    return {family: line(family, one, found["tau"]) for family, one in found.items()}


if __name__ == "__main__":
    main()
