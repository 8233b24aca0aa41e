"""What the models learn from, that a resumed run is the same run, and that its result loads."""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rstitch.pairs.recipe import checkpoint, data, distil, evaluate, train
from rstitch.pairs.recipe.__main__ import main
from rstitch.pairs.recipe.data import Source
from rstitch.pairs.recipe.models import ROLES, SHAPES, Role, as_llama, build
from rstitch.pairs.recipe.problem import Op, apply
from rstitch.pairs.recipe.splits import problems
from rstitch.pairs.recipe.subjects import ARITHMETIC, ORDERS
from rstitch.pairs.recipe.tokenizer import train_tokenizer
from rstitch.pairs.recipe.traces import Span, asked_early, continued, drill, long

TOKENIZER = train_tokenizer(ARITHMETIC.corpus(1500))
ORDER_TOKENIZER = train_tokenizer(ORDERS.corpus(1000))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training in seconds: short windows, small batches, one layer."""
    monkeypatch.setattr(data, "WINDOW", 8)
    monkeypatch.setattr(train, "BATCH_TOKENS", 512)
    for role in ROLES:
        monkeypatch.setitem(SHAPES[role], "num_hidden_layers", 1)
        monkeypatch.setitem(SHAPES[role], "hidden_size", 64)
        monkeypatch.setitem(SHAPES[role], "num_attention_heads", 2)
        monkeypatch.setitem(SHAPES[role], "num_key_value_heads", 1)


def learnt(spans: list[Span]) -> str:
    sample = data.encode(TOKENIZER, [spans])[0]
    return TOKENIZER.decode([i for i, yes in zip(sample.ids, sample.learn, strict=True) if yes])


def is_drill(spans: list[Span]) -> bool:
    return "<|im_start|>" not in spans[0].text


@pytest.mark.parametrize("role", ROLES)
def test_samples_learn_nothing_of_the_prompt_and_always_the_end(role: Role) -> None:
    every = (data.spans(Source(ARITHMETIC, role, 0), index) for index in range(200))
    for spans in itertools.filterfalse(is_drill, every):
        text = learnt(spans)
        assert "<|im_start|>" not in text and "<think>" not in text.replace("</think>", "")
        assert text.endswith("}.<|im_end|>")
        assert text == "".join(span.text for span in spans if span.learn)


def test_a_sample_is_tokenised_as_its_text_would_be() -> None:
    spans = data.spans(Source(ARITHMETIC, "llm", 0), 3)
    whole = TOKENIZER.encode("".join(span.text for span in spans), add_special_tokens=False)
    assert data.encode(TOKENIZER, [spans])[0].ids == whole


def test_slips_are_read_but_not_learnt() -> None:
    slipped = [s for s in map(_long, range(200)) if any(not span.learn for span in s)]
    assert slipped
    for spans in slipped:
        assert learnt(spans) == "".join(span.text for span in spans if span.learn)


def _long(index: int) -> list[Span]:
    return long(problems("dev", 1, index)[0], random.Random(index))


def test_a_takeover_learns_only_what_follows_the_cut() -> None:
    for index, problem in enumerate(problems("dev", 100)):
        for spans in (
            continued(problem, random.Random(index)),
            asked_early(long(problem, random.Random(index)), random.Random(index)),
        ):
            *before, rest = spans
            assert learnt(spans) == rest.text
            assert not any(span.learn for span in before)


def test_what_an_slm_has_not_begun_is_gone_on_with_in_the_problems_order() -> None:
    """At least half of 400 (four standard deviations below 0.5 + the cuts that fall there) begin
    with a step's first number, the first step's too; version 2 of the pair had never seen that."""
    begun_at_once = at_the_first_step = 0
    for index, problem in enumerate(problems("dev", 400)):
        prefix, rest = continued(problem, random.Random(index))
        written = prefix.text.removeprefix("So ")
        if not written.endswith((". ", ".\n")) and written:
            continue
        begun_at_once += 1
        at_the_first_step += not written
        done = set(re.findall(r"\d+[-+*/]\d+=\d+", written))
        todo = [s for s in problem.steps if f"{s.a}{s.op}{s.b}={s.value}" not in done]
        want = [f"{s.a}{s.op}{s.b}={s.value}" for s in todo]
        assert re.findall(r"\d+[-+*/]\d+=\d+", rest.text) == want
    assert begun_at_once >= 160 and at_the_first_step >= 30


def value_of(sum_of_two: str) -> int:
    first, op, second = re.split(r"([-+*/])", sum_of_two.rstrip("="))
    return apply(cast("Op", op), int(first), int(second))


def test_drills_learn_results_only() -> None:
    for index in range(50):
        spans = drill(random.Random(index))
        for asked, result in zip(spans[::2], spans[1::2], strict=True):
            assert not asked.learn and result.learn
            assert result.text == f"{value_of(asked.text)}. "


def test_the_llm_sees_its_styles_in_their_shares() -> None:
    """1,000 samples; each bound is four standard deviations or more from the share's mean."""
    rounds = [data.spans(Source(ARITHMETIC, "llm", 1), index) for index in range(1000)]
    drills = sum(map(is_drill, rounds))
    bodies = [spans[1:-1] for spans in itertools.filterfalse(is_drill, rounds)]
    taken = [body for body in bodies if body[0].text.startswith("So ")]
    early = [b for b in bodies if b not in taken and not any(span.learn for span in b[:-1])]
    assert drills == pytest.approx(120, abs=42)
    assert len(taken) == pytest.approx(546, abs=63)
    assert len(early) == pytest.approx(35, abs=24)


def test_an_llm_of_orders_sees_more_of_what_others_began_than_of_its_own() -> None:
    """1,000 samples, no drills; each bound is four standard deviations from the share's mean."""
    bodies = [data.spans(Source(ORDERS, "llm", 1, drills=0), index)[1:-1] for index in range(1000)]
    taken = sum(len(body) == 2 for body in bodies)
    own = sum(all(span.learn for span in body) for body in bodies)
    assert taken == pytest.approx(620, abs=62) and own == pytest.approx(340, abs=60)
    few = Source(ORDERS, "llm", 1, drills=0, long=0.2)
    bodies = [data.spans(few, index)[1:-1] for index in range(1000)]
    taken = sum(len(body) == 2 for body in bodies)
    own = sum(all(span.learn for span in body) for body in bodies)
    assert taken == pytest.approx(760, abs=54) and own == pytest.approx(200, abs=51)
    assert all(data.spans(Source(ORDERS, "slm", 1, drills=0), i)[1].learn for i in range(50))


def test_batches_hold_targets_where_the_loss_looks_and_pad_little() -> None:
    found = data.window(Source(ARITHMETIC, "llm", 0), TOKENIZER, 0, 3072)
    for batch in found:
        rows = batch.ids.flatten()
        assert torch.equal(rows[batch.where + 1], batch.targets)
    cells = sum(batch.ids.numel() for batch in found)
    assert sum(batch.tokens for batch in found) / cells > 0.95


@pytest.mark.usefixtures("small")
def test_batches_go_on_where_a_run_stopped() -> None:
    stream = itertools.islice(data.batches(Source(ARITHMETIC, "slm", 0), TOKENIZER, 300), 9)
    places, held = zip(*stream, strict=True)
    resumed = itertools.islice(
        data.batches(Source(ARITHMETIC, "slm", 0), TOKENIZER, 300, places[4]), 4
    )
    for (place, batch), expected, want in zip(resumed, places[5:], held[5:], strict=True):
        assert place == expected
        assert torch.equal(batch.ids, want.ids)


def test_the_published_llama_computes_what_was_trained() -> None:
    model = build("llm", TOKENIZER, 0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "bias" in name:  # all zero in a fresh model, which would hide one that is lost
                weight.normal_()
        ids = torch.randint(0, 900, (2, 40))
        torch.testing.assert_close(as_llama(model)(ids).logits, model(ids).logits)


def test_rows_differ_and_hold_every_id() -> None:
    sizes = [build(role, TOKENIZER, 0).config.vocab_size for role in ROLES]
    assert len(set(sizes)) == 2 and min(sizes) >= len(TOKENIZER)
    assert all(size % 64 == 0 for size in sizes)


@pytest.mark.usefixtures("small")
def test_a_resumed_run_gives_the_same_weights(tmp_path: Path) -> None:
    plan = train.Plan("llm", tmp_path / "a", seed=3, tokens=6000)
    parts = replace(plan, out=tmp_path / "b", max_steps=5)
    for folder in (plan.out, parts.out):
        folder.mkdir()
    assert train.train(plan, TOKENIZER)
    assert not train.train(parts, TOKENIZER)
    assert train.train(replace(parts, max_steps=None, resume=True), TOKENIZER)
    one, two = (load_file(p / "llm/model.safetensors") for p in (plan.out, parts.out))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.usefixtures("small")
def test_an_exported_model_is_trained_on(tmp_path: Path) -> None:
    """From its weights as published, at a lower rate; the first step is small."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    train.train(train.Plan("slm", first, tokens=2000), TOKENIZER)
    plan = train.Plan("slm", second, seed=1, max_steps=1, start=first / "slm", peak=0.1)
    assert not train.train(plan, TOKENIZER)
    before, after = load_file(first / "slm" / "model.safetensors"), load_file(plan.checkpoint)
    for name in ("model.norm.weight", "model.layers.0.mlp.up_proj.weight"):
        moved = (after[f"weight.{name}"] - before[name].float()).abs().max()
        assert 0 < moved < 0.01, (name, moved)


def test_a_deeper_model_begins_as_the_shallow_one_it_starts_from(tmp_path: Path) -> None:
    """An LLM of orders: more layers and embedding rows, the same logits."""
    shallow, deep = build("slm", TOKENIZER, 0), build("slm", TOKENIZER, 1, num_hidden_layers=4)
    checkpoint.export(tmp_path, shallow, TOKENIZER)
    wide = build("llm", TOKENIZER, 1, **ORDERS.shapes["llm"])
    ids, real = torch.randint(0, 900, (2, 40)), len(TOKENIZER)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        for model in (deep, wide):
            checkpoint.start(tmp_path, model)
            found = model(ids).logits[..., :real]
            torch.testing.assert_close(found, exported(ids).logits[..., :real])


@pytest.mark.usefixtures("small")
def test_a_finished_run_goes_on_with_a_larger_budget(tmp_path: Path) -> None:
    plan = train.Plan("slm", tmp_path, tokens=2000)
    assert train.train(plan, TOKENIZER)
    before = load_file(tmp_path / "slm/model.safetensors")
    assert train.train(replace(plan, resume=True), TOKENIZER)  # nothing left to do
    same = load_file(tmp_path / "slm/model.safetensors")
    assert all(torch.equal(before[name], same[name]) for name in before)
    assert train.train(replace(plan, resume=True, tokens=4000), TOKENIZER)
    after = load_file(tmp_path / "slm/model.safetensors")
    assert not torch.equal(before["model.norm.weight"], after["model.norm.weight"])


@pytest.mark.usefixtures("small")
def test_the_result_loads_and_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "MAX_NEW", 8)
    TOKENIZER.save_pretrained(tmp_path / "tokenizer")
    assert main(["slm", "--out", str(tmp_path), "--tokens", "2000", "--threads", "1"]) == 0
    folder = tmp_path / "slm"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    assert model.generation_config.eos_token_id == TOKENIZER.eos_token_id
    assert AutoTokenizer.from_pretrained(folder).encode("So 1+2=3") == TOKENIZER.encode("So 1+2=3")
    assert {"config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"} <= {
        path.name for path in folder.iterdir()
    }
    assert main(["eval", "--model", str(folder), "--n", "2"]) == 0
    assert '"accuracy"' in capsys.readouterr().out


@pytest.mark.usefixtures("small")
def test_the_second_task_is_taught_by_drills_and_then_by_traces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "MAX_NEW", 8)
    first, second = tmp_path / "first", tmp_path / "second"
    common = ["slm", "--task", "order", "--tokens", "1000", "--threads", "1"]
    for out, more in (
        (first, ["--drills", "1", "--batch-tokens", "256"]),
        (second, ["--start", str(first / "slm")]),
    ):
        ORDER_TOKENIZER.save_pretrained(out / "tokenizer")
        assert main([*common, "--out", str(out), *more]) == 0
    assert main(["eval", "--task", "order", "--model", str(second / "slm"), "--n", "2"]) == 0
    assert '"accuracy"' in capsys.readouterr().out


def test_the_loss_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    monkeypatch.setattr(train.Report, "add", lambda self, loss, progress: seen.append(loss))
    monkeypatch.setattr(train, "BATCH_TOKENS", 1024)
    monkeypatch.setattr(train, "WARMUP_STEPS", 5)
    assert train.train(train.Plan("slm", tmp_path, tokens=12_000), TOKENIZER)
    assert seen[-1] < seen[0] - 1


def test_bfloat16_products_change_the_loss_little_and_no_weight() -> None:
    model = build("slm", TOKENIZER, 0)
    batch = data.window(Source(ARITHMETIC, "slm", 0), TOKENIZER, 0, 1024)[0]
    exact, rough = (train.loss_of(model, batch, bf16=on).item() for on in (False, True))
    assert rough != exact
    assert rough == pytest.approx(exact, rel=0.01)
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def test_the_overconfident_one_sees_the_same_samples_again() -> None:
    def seen(role: Role, number: int) -> list[list[int]]:
        return [
            batch.ids.tolist()
            for batch in data.window(Source(ARITHMETIC, role, 0), TOKENIZER, number, 1024)
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "WINDOW", 8)
        first, again = (
            sorted(map(str, seen("overconfident", number))) for number in (1, 1 + data.POOL)
        )
        assert first == again
        assert sorted(map(str, seen("slm", 1))) != sorted(map(str, seen("slm", 1 + data.POOL)))


def test_a_student_learns_what_the_teacher_thinks_likely(tmp_path: Path) -> None:
    """Not the tokens that are there: after a few steps its distribution is nearer the teacher's."""
    folder = tmp_path / "teacher"
    as_llama(build("slm", TOKENIZER, 1)).save_pretrained(folder)
    teacher, student = distil.teacher(folder), build("sibling", TOKENIZER, 0)
    batch = data.window(Source(ARITHMETIC, "sibling", 0), TOKENIZER, 0, 1024)[0]
    ids = len(TOKENIZER)

    def wanted() -> torch.Tensor:
        return distil.chosen_logits(teacher, batch)[:, :ids].softmax(-1)

    before, floor = distil.loss_of(student, teacher, batch, ids), wanted()
    entropy = -(floor * floor.log()).sum(-1).mean()
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    for _ in range(30):
        optimizer.zero_grad()
        torch.autograd.backward(distil.loss_of(student, teacher, batch, ids))
        optimizer.step()
    after = distil.loss_of(student, teacher, batch, ids)
    assert entropy - 1e-4 <= after < before
    assert after - entropy < (before - entropy) / 2
    assert torch.equal(wanted(), floor)  # the teacher itself has learnt nothing
