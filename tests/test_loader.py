"""Model directories, whole and damaged: each failure is one line with the path and the remedy."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from huggingface_hub.utils import are_progress_bars_disabled
from safetensors.torch import load_file, save_file
from transformers.utils import logging as hf_logging

from rstitch import api
from rstitch.config import EngineConfig
from rstitch.engine.loader import load_model
from rstitch.engine.quiet import quiet
from rstitch.errors import BadModel, BadPair, BadRequest, RStitchError
from rstitch.types import Side
from tests import pair as tiny
from tests.pair import QUESTION, pair

Damage = Callable[[Path], object]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An SLM directory of one's own."""
    return pair().copy(Side.SLM, tmp_path / "model")


def refused(directory: Path | str, error: type[RStitchError] = BadModel) -> str:
    """The one line that loading fails with; it names the path."""
    with pytest.raises(error) as caught:
        load_model(str(directory), EngineConfig())
    message = str(caught.value)
    assert str(directory) in message and "\n" not in message
    return message


def weights(directory: Path) -> Path:
    return directory / "model.safetensors"


def configure(directory: Path, **changes: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# -- whole ----------------------------------------------------------------------------------------


def test_no_bars_where_nobody_watches(capfd: pytest.CaptureFixture[str]) -> None:
    """transformers drew "Loading weights" into logs; what others have set stays as it was."""
    directory = str(pair().slm)
    capfd.readouterr()  # the first test to ask for the pair has it saved, with bars
    assert hf_logging.is_progress_bar_enabled()
    load_model(directory, EngineConfig())
    assert capfd.readouterr() == ("", "")
    assert hf_logging.is_progress_bar_enabled() and not are_progress_bars_disabled()
    with patch.object(sys.stderr, "isatty", return_value=True), quiet():
        assert hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        load_model(directory, EngineConfig())
        assert not hf_logging.is_progress_bar_enabled() and are_progress_bars_disabled()
    finally:
        hf_logging.enable_progress_bar()


def test_a_whole_directory() -> None:
    for side, directory in ((Side.SLM, pair().slm), (Side.LLM, pair().llm)):
        model = load_model(str(directory), EngineConfig(max_rows=3))
        tokens = len(model.tokenizer)
        rows = model.runner.model.get_input_embeddings().num_embeddings
        assert rows == tokens + (4 if side is Side.SLM else 16)
        assert model.runner.vocab_size == tokens
        assert model.runner.max_length == tiny.CONTEXT
        assert model.runner.kv.max_slots == 3
        assert model.eos_token_ids == {model.tokenizer.convert_tokens_to_ids(tiny.STOP)}
        assert not model.runner.model.training
        assert not any(weight.requires_grad for weight in model.runner.model.parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_take_the_dtype_asked_for(dtype: str) -> None:
    model = load_model(str(pair().slm), EngineConfig(dtype=dtype))  # type: ignore[arg-type]
    assert {weight.dtype for weight in model.runner.model.parameters()} == {getattr(torch, dtype)}


def shard(directory: Path) -> list[Path]:
    """The weights as two files and their index; the names of the two."""
    tensors = load_file(weights(directory))
    weights(directory).unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2]}
    parts["model-00002-of-00002.safetensors"] = names[1::2]
    for file, inside in parts.items():
        save_file({n: tensors[n] for n in inside}, directory / file, metadata={"format": "pt"})
    where = {name: file for file, inside in parts.items() for name in inside}
    index = {"metadata": {}, "weight_map": where}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return [directory / file for file in parts]


def test_weights_in_several_files(directory: Path) -> None:
    whole = load_model(str(directory), EngineConfig()).runner.model.state_dict()
    shard(directory)
    loaded = load_model(str(directory), EngineConfig()).runner.model.state_dict()
    assert loaded.keys() == whole.keys()
    assert all(torch.equal(loaded[name], whole[name]) for name in whole)


# -- damaged --------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["/no/such/model", "./model", "some/where/model"])
def test_a_directory_that_is_missing(source: str) -> None:
    assert "is no directory; give a model directory or a hub id" in refused(source)


def test_a_hub_id_without_the_hub() -> None:
    """Could be a relative path with a slip as well as an id: the line says both."""
    message = refused("models/smoll")
    assert "is no directory, and as a hub id it cannot be loaded" in message


def test_no_config(directory: Path) -> None:
    (directory / "config.json").unlink()
    assert "has no config.json; give a Hugging Face model directory" in refused(directory)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not a valid JSON file"),
        ("{}", "Should have a `model_type` key"),
        ('{"model_type": "perpetuum"}', "model type `perpetuum`"),
        ('{"model_type": "qwen2", "hidden_size": "x"}', "hidden_size"),
    ],
)
def test_an_unusable_config(directory: Path, text: str, why: str) -> None:
    (directory / "config.json").write_text(text)
    message = refused(directory)
    assert message.startswith("cannot load the config.json of") and why in message


def test_no_weights(directory: Path) -> None:
    weights(directory).unlink()
    assert "has no *.safetensors file; the weights are missing" in refused(directory)


@pytest.mark.parametrize("pickled", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickled_weights_alone(directory: Path, pickled: str) -> None:
    weights(directory).rename(directory / pickled)
    message = refused(directory)
    assert f"pickled weights ({pickled})" in message and "convert them to safetensors" in message


def test_pickled_weights_beside_the_others_are_not_touched(directory: Path) -> None:
    (directory / "pytorch_model.bin").write_bytes(b"not even a pickle")
    load_model(str(directory), EngineConfig())


@pytest.mark.parametrize(
    "keep",
    [
        lambda size: size // 2,
        lambda size: size - 1,
        lambda size: 60,  # inside the header
        lambda size: 5,  # inside the header's length
        lambda size: 0,
    ],
    ids=["half", "last-byte", "header", "length", "empty"],
)
def test_truncated_weights(directory: Path, keep: Callable[[int], int]) -> None:
    content = weights(directory).read_bytes()
    weights(directory).write_bytes(content[: keep(len(content))])
    message = refused(directory)
    assert message.startswith(f"the weights of {directory} are damaged")
    assert message.endswith("copy them again")


def test_a_pointer_in_the_place_of_the_weights(directory: Path) -> None:
    """What a clone without git-lfs leaves."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    weights(directory).write_text(pointer)
    assert "are damaged" in refused(directory)


def test_one_of_several_weight_files_missing(directory: Path) -> None:
    gone = shard(directory)[1]
    gone.unlink()
    message = refused(directory)
    assert gone.name in message and message.endswith("copy the directory again")


def test_one_of_several_weight_files_truncated(directory: Path) -> None:
    cut = shard(directory)[1]
    cut.write_bytes(cut.read_bytes()[:-100])
    assert "are damaged" in refused(directory)


def remove_a_tensor(directory: Path) -> None:
    tensors = load_file(weights(directory))
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, weights(directory), metadata={"format": "pt"})


def widen(directory: Path) -> None:
    configure(directory, intermediate_size=64)


def deepen(directory: Path) -> None:
    configure(directory, num_hidden_layers=2, layer_types=["full_attention"] * 2)


@pytest.mark.parametrize("damage", [remove_a_tensor, widen, deepen])
def test_tensors_that_transformers_would_make_up(directory: Path, damage: Damage) -> None:
    """It warns and fills in random numbers: such a model used to load and answer."""
    damage(directory)
    message = refused(directory)
    assert "do not fit its config.json: model.layers." in message


def test_no_tokenizer(directory: Path) -> None:
    """transformers makes an empty one, which used to load and to turn every prompt into nothing."""
    (directory / "tokenizer.json").unlink()
    assert "has no tokenizer; copy its tokenizer.json there" in refused(directory)


def test_a_truncated_tokenizer(directory: Path) -> None:
    path = directory / "tokenizer.json"
    path.write_text(path.read_text()[:3000])
    assert refused(directory).startswith("cannot load the tokenizer of")


def test_more_tokens_than_the_model_has_rows(directory: Path) -> None:
    tiny.tokenizer(merges=tiny.MERGES + 5).save_pretrained(directory)
    assert "tokens in its tokenizer, only" in refused(directory)


# -- unsupported ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["chunked_attention", "linear_attention", "conv"])
def test_layers_that_would_be_silently_wrong(directory: Path, kind: str) -> None:
    if kind == "conv":  # transformers itself knows it only where the model has it
        configure(directory, model_type="lfm2", num_hidden_layers=2)
    layers = json.loads((directory / "config.json").read_text())["num_hidden_layers"]
    configure(directory, layer_types=["full_attention"] * (layers - 1) + [kind])
    assert f"has {kind} layers; full and sliding attention are supported" in refused(directory)


@pytest.mark.parametrize("model_type", ["mamba", "jamba"])
def test_recurrent_models(directory: Path, model_type: str) -> None:
    (directory / "config.json").write_text(json.dumps({"model_type": model_type}))
    assert "has linear_attention layers" in refused(directory)


def test_the_text_part_of_a_model_with_several_is_what_counts(directory: Path) -> None:
    """Llama 4: chunked attention, named in the inner configuration only."""
    (directory / "config.json").write_text(json.dumps({"model_type": "llama4"}))
    assert "has chunked_attention layers" in refused(directory)


def test_rope_that_depends_on_the_row(directory: Path) -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    configure(directory, rope_parameters=rope)
    assert "uses dynamic rope, which depends on the row; static rope is needed" in refused(
        directory
    )


def test_rope_by_kind_of_layer(directory: Path) -> None:
    """Gemma 3's shape of configuration."""
    plain = {"rope_type": "default", "rope_theta": 10_000.0}
    config = {
        "model_type": "gemma3_text",
        "rope_parameters": {
            "sliding_attention": plain,
            "full_attention": {**plain, "rope_type": "dynamic", "factor": 2.0},
        },
    }
    (directory / "config.json").write_text(json.dumps(config))
    assert "uses dynamic rope" in refused(directory)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "toaster"}, "device is 'toaster'; it must be 'cpu' or 'cuda'"),
        (
            {"device": "cuda:1"},
            "device is 'cuda:1'; it must be 'cuda', the first GPU there is: set "
            "CUDA_VISIBLE_DEVICES=1 to have another one be that",
        ),
        ({"dtype": "float8"}, "dtype is 'float8'; it must be one of float32, bfloat16, float16"),
    ],
)
def test_settings_of_the_machine(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest) as error:
        load_model(str(pair().slm), EngineConfig(**settings))
    assert str(error.value) == message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(BadRequest, match="device is 'cuda', but torch finds no GPU; use 'cpu'"):
        load_model(str(pair().slm), EngineConfig(device="cuda"))


# -- pairs ----------------------------------------------------------------------------------------


def test_vocabularies_that_differ(directory: Path) -> None:
    """Ten of the tokens that differ are named, with their ids on both sides."""
    ours = load_model(str(pair().slm), EngineConfig()).tokenizer.get_vocab()
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    renamed = dict(zip("ABCDEFGHIJKL", "BCDEFGHIJKLA", strict=True))  # twelve letters, rotated
    tokenizer["model"]["vocab"] = {renamed.get(t, t): i for t, i in vocab.items()}
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(BadPair) as error:
        api.load(slm=str(directory), llm=str(pair().llm))
    message = str(error.value)
    named = ", ".join(f"'{t}': {ours[before]} and {ours[t]}" for t, before in PREVIOUS)
    assert f"12 tokens differ ({named})" in message
    assert message.startswith(f"{directory} and {pair().llm} do not share a vocabulary")
    assert "choose an SLM of the LLM's own tokenizer family" in message and "\n" not in message


PREVIOUS = list(zip("ABCDEFGHIJ", "LABCDEFGHI", strict=True))
"""Each of the ten named letters, and whose id it got."""


def test_a_pair_without_chat_template_takes_raw_prompts_only(tmp_path: Path) -> None:
    slm, llm = (pair().copy(side, tmp_path / side.label) for side in Side)
    for directory in (slm, llm):
        (directory / "chat_template.jinja").unlink()
    with api.load(slm=str(slm), llm=str(llm)) as stitch:
        with pytest.raises(BadRequest) as error:
            stitch.generate(QUESTION)
        expected = f"{slm} has no chat template; pass raw=True (--raw) for plain text"
        assert str(error.value) == expected
        assert stitch.generate(QUESTION, raw=True, max_tokens=2).usage.tokens == 2
