"""``python -m rstitch.pairs.recipe``: trains the tokenizer and the built-in models.

tokenizer --out DIR, then llm, slm, overconfident and sibling --out DIR (or all --out DIR);
eval --model DIR tests one, ship --out DIR puts a pair into the package, add ROLE --out DIR one more
SLM. --task order makes the pair of the second task.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from rstitch.pairs.recipe.evaluate import evaluate
from rstitch.pairs.recipe.models import ROLES, Role
from rstitch.pairs.recipe.ship import add, ship
from rstitch.pairs.recipe.subjects import ARITHMETIC, SUBJECTS, Subject
from rstitch.pairs.recipe.train import Plan, train

INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m rstitch.pairs.recipe", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    for name in ("tokenizer", *ROLES, "all"):
        command = commands.add_parser(name)
        command.add_argument("--out", type=Path, required=True)
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--threads", type=int, default=2)
        command.add_argument(
            "--resume",
            action="store_true",
            help="go on from the checkpoint; with a larger budget also past the first one",
        )
        command.add_argument(
            "--start", type=Path, metavar="DIR", help="go on from this exported model"
        )
        command.add_argument(
            "--peak", type=float, default=1.0, help="scale of the learning rate at its highest"
        )
        command.add_argument(
            "--teacher", type=Path, metavar="DIR", help="learn this model's distributions"
        )
        command.add_argument(
            "--drills", type=float, metavar="SHARE", help="of samples; 1 to begin with a new task"
        )
        command.add_argument(
            "--long", type=float, metavar="SHARE", help="of the LLM's samples: its own traces"
        )
        command.add_argument("--batch-tokens", type=int, help="smaller: more steps, and slower")
        command.add_argument("--bf16", action="store_true", help="for CPUs with bfloat16 products")
        command.add_argument("--compile", action="store_true", help="faster after a slow start")
        budget = command.add_mutually_exclusive_group()
        budget.add_argument("--tokens", type=int, help="train on this many tokens")
        budget.add_argument("--time-budget", type=float, metavar="MINUTES")
    command = commands.add_parser("eval")
    command.add_argument("--model", type=Path, required=True)
    command.add_argument("--n", type=int, default=200)
    command.add_argument("--split", default="dev")
    command.add_argument("--fresh-seed", type=int, default=0, help="another draws a new set")
    command.add_argument("--threads", type=int, default=2)
    command = commands.add_parser("ship")
    command.add_argument("--out", type=Path, required=True, help="where both sides were trained")
    command.add_argument("--tau", type=float, required=True)
    command.add_argument("--version", type=int, required=True)
    command = commands.add_parser("add")
    command.add_argument("role", choices=ROLES[2:], help="one more SLM for the pair that is there")
    command.add_argument("--out", type=Path, required=True, help="where it was trained")
    for name, command in commands.choices.items():
        if name != "add":
            command.add_argument("--task", choices=tuple(SUBJECTS), default=ARITHMETIC.name)
    return top


def tokenizer_in(out: Path, subject: Subject[Any], *, fresh: bool) -> PreTrainedTokenizerFast:
    """The tokenizer at ``out/tokenizer``, trained first where it is missing or to be fresh."""
    folder = out / "tokenizer"
    if fresh or not (folder / "tokenizer.json").exists():
        subject.tokenizer().save_pretrained(folder)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return tokenizer


def plan(args: argparse.Namespace, role: Role) -> Plan:
    seconds = None if args.time_budget is None else args.time_budget * 60
    return Plan(
        role,
        args.out,
        args.seed,
        args.tokens,
        seconds,
        args.resume,
        bf16=args.bf16,
        start=args.start,
        peak=args.peak,
        teacher=args.out / "llm" if args.command == "all" and role == "sibling" else args.teacher,
        compiled=args.compile,
        subject=SUBJECTS[args.task],
        drills=args.drills,
        long=args.long,
        batch_tokens=args.batch_tokens,
    )


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.command == "ship":
        print(ship(args.out, args.tau, args.version, SUBJECTS[args.task].home))
        return 0
    if args.command == "add":
        print(add(args.out, args.role))
        return 0
    torch.set_num_threads(args.threads)
    if args.command == "eval":
        print(
            json.dumps(
                evaluate(SUBJECTS[args.task], args.model, args.split, args.n, args.fresh_seed)
            )
        )
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_in(args.out, SUBJECTS[args.task], fresh=args.command == "tokenizer")
    if args.command == "tokenizer":
        print(f"{len(tokenizer)} ids in {args.out / 'tokenizer'}")
        return 0
    roles: tuple[Role, ...] = ROLES if args.command == "all" else (args.command,)
    for role in roles:
        if not train(plan(args, role), tokenizer):
            return INTERRUPTED
        print(args.out / role)
    return 0


if __name__ == "__main__":
    sys.exit(main())
