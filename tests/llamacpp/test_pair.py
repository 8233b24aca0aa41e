"""GGUF pairs through `rstitch.load` and the command line: the same answers as from directories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rstitch
from rstitch.errors import BadRequest
from rstitch.trace import read
from rstitch.types import Sampling, Side
from tests import pair as tiny_pair
from tests.cli.terminal import rstitch as run
from tests.llamacpp import tiny
from tests.pair import QUESTION, TAU

QUESTIONS = [QUESTION, "Mia has seven boxes.", "Let me check that: three apples?"]


def answers(stitch: rstitch.Stitch, **options: object) -> list[tuple[str, list[object]]]:
    given = stitch.batch(QUESTIONS, max_tokens=30, **options)
    return [(a.text, [(p.token, p.side, p.keep) for p in a.trace.proposals]) for a in given]


@pytest.mark.parametrize("made", [tiny.files, tiny.foreign], ids=["tokenizer.json", "llama.cpp"])
@pytest.mark.parametrize(
    "sampling", [None, Sampling(0.8, top_p=0.9, seed=4)], ids=["greedy", "sampled"]
)
def test_the_same_answers_as_from_directories(made: object, sampling: Sampling | None) -> None:
    files = made()  # type: ignore[operator]
    with rstitch.load(**files.names, tau=TAU) as pair:
        assert {type(m.runner).__name__ for m in pair.models.values()} == {"LlamaRunner"}
        got = answers(pair, sampling=sampling)
    want = answers(tiny_pair.stitch(), sampling=sampling)
    assert got == want
    assert {side for _, steps in got for _, side, _ in steps} == set(Side)


def test_prompts_and_vocabulary_of_foreign_files_are_those_of_the_directory() -> None:
    with rstitch.load(**tiny.foreign().names) as pair:
        for side in Side:
            ours, theirs = pair.models[side], tiny_pair.stitch().models[side]
            assert type(ours.tokenizer).__name__ == "LlamaTokenizer"
            assert ours.vocabulary.base == theirs.vocabulary.base
            assert ours.vocabulary.merges == theirs.vocabulary.merges
            assert ours.vocabulary.roles == theirs.vocabulary.roles
            assert ours.runner.vocab_size == theirs.runner.vocab_size
            for text in (*QUESTIONS, "naïve café 東京 🙂\n\n<think>x</think><|im_end|>", " a  b"):
                ids = theirs.tokenizer.encode(text, add_special_tokens=False)
                assert ours.tokenizer.encode(text, add_special_tokens=False) == ids, text
                for skip in (True, False):
                    want = theirs.tokenizer.decode(ids, skip_special_tokens=skip)
                    assert ours.tokenizer.decode(ids, skip_special_tokens=skip) == want


def test_one_side_on_each_engine() -> None:
    with rstitch.load(slm=str(tiny.files().slm), llm=str(tiny_pair.pair().llm), tau=TAU) as pair:
        names = [type(pair.models[side].runner).__name__ for side in Side]
        assert names == ["LlamaRunner", "TorchRunner"]
        assert answers(pair) == answers(tiny_pair.stitch())


@pytest.mark.parametrize("kinds", [("q8_0", "f16"), ("f16", "q8_0")])
def test_quantisations_of_the_sides_may_differ(kinds: tuple[str, str]) -> None:
    """Rows of 48 and 32 numbers; q4_k_m would need 256."""
    slm, llm = tiny.files(kinds[0]).slm, tiny.files(kinds[1]).llm
    with rstitch.load(slm=str(slm), llm=str(llm), tau=TAU) as pair:
        assert {pair.models[s].runner.kv.settings.kv_type for s in Side} == {"f16"}
        for text, steps in answers(pair):
            assert text and steps


def test_settings_reach_llamacpp() -> None:
    with rstitch.load(
        **tiny.files().names, threads=2, llm_threads=1, kv_type="f16", flash_attention="on"
    ) as pair:
        slm, llm = (pair.models[side].runner.kv.settings for side in Side)
        assert (slm.threads, llm.threads) == (2, 1)
        assert {(s.kv_type, s.flash_attention) for s in (slm, llm)} == {("f16", "on")}


def test_memory_is_bounded() -> None:
    """By rows that give way and are computed again: the same answers."""
    many = QUESTIONS * 4
    with rstitch.load(**tiny.files().names, tau=TAU, kv_memory=0.00035, max_rows=12) as pair:
        got = [a.text for a in pair.batch(many, max_tokens=60)]
        stats = pair.engine.stats()["kv"]
        assert all(one["bytes"] <= one["bound"] for one in stats.values()), stats
        assert sum(one["dropped"] for one in stats.values()), "the test says nothing: no pressure"
    assert got == [a.text for a in tiny_pair.stitch().batch(many, max_tokens=60)]


# -- which engine ---------------------------------------------------------------------------------


def test_the_files_choose_the_engine() -> None:
    with pytest.raises(BadRequest, match="engine is 'torch', but .*slm-f32.gguf is for llama.cpp"):
        rstitch.load(**tiny.files().names, engine="torch")
    with pytest.raises(BadRequest, match="is no GGUF file and none is known of it; name one"):
        rstitch.load(
            slm=str(tiny_pair.pair().slm), llm=str(tiny_pair.pair().llm), engine="llamacpp"
        )
    with pytest.raises(BadRequest, match="engine is 'tpu'; it must be one of auto, torch, llam"):
        rstitch.load(engine="tpu")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"compile": True}, "compile is for models on torch"),
        ({"dtype": "bfloat16"}, "dtype is for models on torch"),
        ({"device": "cuda"}, "device is for models on torch"),
        ({"kv_type": "q2"}, "kv_type is 'q2'; it must be one of f32, f16, q8_0"),
        ({"flash_attention": "maybe"}, "flash_attention is 'maybe'; it must be one of auto, off"),
        ({"max_rows": 257}, "max_rows is 257; llama.cpp holds at most 256 at once"),
        ({"gpu_layers": 5}, "gpu_layers is 5, but llama-cpp-python was built without a GPU"),
        ({"slm_threads": 0}, "slm_threads is 0; it must be at least 1"),
    ],
)
def test_settings_that_cannot_be_had(settings: dict[str, object], said: str) -> None:
    with pytest.raises(BadRequest) as caught:
        rstitch.load(**tiny.files().names, **settings)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_settings_of_llamacpp_are_refused_on_torch() -> None:
    slm, llm = str(tiny_pair.pair().slm), str(tiny_pair.pair().llm)
    with pytest.raises(BadRequest, match="kv_type is for models on llama.cpp; these are not"):
        rstitch.load(slm=slm, llm=llm, kv_type="f16")


# -- the command line -----------------------------------------------------------------------------


def test_generate_and_explain(tmp_path: Path) -> None:
    trace = tmp_path / "t.jsonl"
    options = ["--tau", str(TAU), "--max-tokens", "30", "--trace", str(trace)]
    done = run("generate", QUESTION, *tiny.files().options, *options)
    assert done.code == 0, done.err
    want = run("generate", QUESTION, *tiny_pair.pair().options, *options[:4])
    assert done.out == want.out
    (answer,) = read(trace)
    assert answer.models == {"slm": str(tiny.files().slm), "llm": str(tiny.files().llm)}
    assert run("explain", str(trace), "--no-show").code == 0


@pytest.mark.parametrize("made", [tiny.files, tiny.foreign], ids=["tokenizer.json", "llama.cpp"])
def test_check(made: object) -> None:
    files = made()  # type: ignore[operator]
    done = run("check", str(files.slm), str(files.llm), "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    theirs = run("check", str(tiny_pair.pair().slm), str(tiny_pair.pair().llm), "--json")
    for side, want in json.loads(theirs.out).items():
        if side not in ("slm", "llm"):
            continue
        for name in ("layers", "context", "tokens", "special_tokens", "opens_thinking"):
            assert found[side][name] == want[name], name
        assert found[side]["kv_bytes_per_token"] == want["kv_bytes_per_token"]
        assert found[side]["model_type"] == "qwen2"
    assert found["ok"]


def test_convert(tmp_path: Path) -> None:
    target = tmp_path / "one.gguf"
    assert run("convert", str(tiny_pair.pair().slm), str(target), "--type", "f32").code == 0
    assert target.read_bytes() == tiny.files().slm.read_bytes()
    said = run("convert", str(tiny_pair.pair().slm), str(target)).line
    assert said == f"{target} exists; name another file, or replace it with --force"
    assert run("convert", str(tiny_pair.pair().slm), str(target), "--force").code == 0
    assert target.stat().st_size < tiny.files().slm.stat().st_size, "f16 unless said otherwise"
    assert "does not end in .gguf" in run("convert", "x", str(tmp_path / "y")).line
    assert "there are builtin:slm and" in run("convert", "builtin:x", str(tmp_path / "y.gguf")).line
    assert [path.name for path in tmp_path.iterdir()] == ["one.gguf"], "nothing half-written"
