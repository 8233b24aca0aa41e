"""GGUF files, whole and damaged: each failure is one line with the path and the remedy.

Some files make llama.cpp end the process, which no `except` would see: the damaged ones of
`test_no_damage_ends_the_process` are loaded in a process of their own.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rstitch
from rstitch.errors import BadModel, BadPair, BadRequest, RStitchError
from tests.fake_hub import hub
from tests.llamacpp import tiny
from tests.pair import QUESTION

from rstitch.llamacpp import header, library, loader  # isort: skip  # after tiny, which may skip

gguf = library.gguf()


def refused(path: Path | str, error: type[RStitchError] = BadModel) -> str:
    """The one line that loading fails with."""
    with pytest.raises(error) as caught:
        rstitch.load(slm=str(path), llm=str(tiny.files().llm)).close()
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copy(tiny.files().slm, tmp_path / "copy.gguf"))


def rewritten(source: Path, target: Path, change: Callable[[Any], object], **values: Any) -> Path:
    """The same file with other metadata; `change` may drop or replace fields of the reader."""
    reader = gguf.GGUFReader(source)
    architecture = values.pop("architecture", None)
    old = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture or old)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        renamed = key.replace(f"{old}.", f"{architecture}.", 1) if architecture else key
        value = values.pop(renamed, field.contents())
        if value is None:
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind is gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(renamed, value, kind, sub_type=inner)
    assert not values, f"not in the file: {list(values)}"
    for tensor in reader.tensors:
        if change(tensor) is not False:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def same(_: object) -> None:
    """No change of tensors."""


# -- headers --------------------------------------------------------------------------------------


def test_a_header_says_what_gguf_itself_reads() -> None:
    for path in (tiny.files("q8_0").llm, tiny.foreign().slm):
        ours, theirs = header.read(path), gguf.GGUFReader(path)
        for key, field in theirs.fields.items():
            if not key.startswith("GGUF."):
                assert ours.values[key] == field.contents(), key
        assert [(t.name, t.type, t.nbytes) for t in ours.tensors] == [
            (t.name, t.tensor_type.name, t.n_bytes) for t in theirs.tensors
        ]
        assert [t.shape for t in ours.tensors] == [tuple(t.shape.tolist()) for t in theirs.tensors]


def test_shards_are_one_model(tmp_path: Path) -> None:
    whole = gguf.GGUFReader(tiny.files().slm)
    half = len(whole.tensors) // 2
    parts = {"m-00001-of-00002.gguf": whole.tensors[:half], "m-00002-of-00002.gguf": None}
    names = {tensor.name for tensor in whole.tensors[:half]}
    for number, name in enumerate(parts):
        rewritten(
            tiny.files().slm, tmp_path / name, lambda t, n=number: (t.name in names) == (n == 0)
        )
    first = tmp_path / "m-00001-of-00002.gguf"
    found = header.read(first)
    assert len(found.tensors) == len(whole.tensors)
    assert header.shards(tmp_path / "m-00002-of-00002.gguf") == [tmp_path / "m-00002-of-00002.gguf"]
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    assert "has no shard m-00002-of-00002.gguf beside it; get all of its files" in refused(first)


# -- damaged --------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0, 3, 20, 0.02, 0.3, 0.7, 0.999])
def test_a_file_that_is_cut_off(copy: Path, part: float) -> None:
    content = copy.read_bytes()
    size = int(part * len(content)) if 0 < part < 1 else int(part)
    copy.write_bytes(content[:size])
    assert "get it again" in refused(copy)


def test_a_file_that_is_none(copy: Path, tmp_path: Path) -> None:
    copy.write_text("not a model, but text that is long enough")
    assert "it does not begin with GGUF" in refused(copy)
    assert "is no file; give the path of a GGUF file, or repo:file" in refused(
        tmp_path / "none.gguf"
    )
    (tmp_path / "directory.gguf").mkdir()
    assert "is a directory; name a GGUF file in it" in refused(tmp_path / "directory.gguf")


def test_a_vocabulary_without_weights(tmp_path: Path) -> None:
    path = rewritten(tiny.files().slm, tmp_path / "v.gguf", lambda _: False)
    assert "holds no weights, only a vocabulary" in refused(path)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"qwen2.context_length": None}, "qwen2.context_length is missing"),
        ({"tokenizer.ggml.tokens": None}, "names 0 tokens and"),
        ({"tokenizer.huggingface.json": "{"}, "has a damaged tokenizer.huggingface.json"),
        ({"qwen2.block_count": 7}, "llama.cpp cannot load"),
        ({"qwen2.attention.head_count": 3}, "llama.cpp cannot load"),
        ({"qwen2.embedding_length": 64}, "llama.cpp cannot load"),
    ],
)
def test_metadata_that_cannot_be(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    path = rewritten(tiny.files().slm, tmp_path / "m.gguf", same, **values)
    assert said in refused(path)


def test_an_architecture_that_llamacpp_does_not_know(tmp_path: Path) -> None:
    path = rewritten(tiny.files().slm, tmp_path / "m.gguf", same, architecture="perpetuum")
    said = refused(path)
    assert "unknown model architecture: 'perpetuum'" in said
    assert said.endswith("update llama-cpp-python, or choose another model")


def test_a_weight_that_is_missing(tmp_path: Path) -> None:
    path = rewritten(
        tiny.files().slm, tmp_path / "m.gguf", lambda t: t.name != "blk.0.ffn_up.weight"
    )
    said = refused(path)
    assert "tensor 'blk.0.ffn_up.weight' not found" in said


@pytest.mark.parametrize(
    "architecture", ["mamba", "bert", "t5encoder", "rwkv6", "lfm2", "gpt2", "clip", "qwen3next"]
)
def test_another_kind_of_model(tmp_path: Path, architecture: str) -> None:
    """Refused for its kind, or because its weights have other names."""
    path = rewritten(tiny.files().slm, tmp_path / "m.gguf", same, architecture=architecture)
    refused(path)


LOAD = """
import sys, rstitch
from rstitch.errors import RStitchError
for path in sys.argv[2:]:
    try:
        with rstitch.load(slm=path, llm=sys.argv[1], max_rows=2, threads=1) as pair:
            pair.generate("How many?", max_tokens=8, tau=0.5)
        print("ran")
    except RStitchError as error:
        assert "\\n" not in str(error), error
        print("refused")
"""


@pytest.mark.parametrize("made", [tiny.files, tiny.foreign], ids=["tokenizer.json", "llama.cpp"])
def test_no_damage_ends_the_process(made: Any, tmp_path: Path) -> None:
    """Sixty files with a byte or a word of their header changed: each runs or is refused."""
    source, pick = made().slm, random.Random(1)
    content = source.read_bytes()
    weights = len(content) - header.read(source).stored_bytes
    paths = []
    for number in range(60):
        damaged = bytearray(content)
        at = pick.randrange(4, weights - 8)
        word = pick.choice([b"\\xff" * 8, bytes(8), pick.randbytes(1), pick.randbytes(4)])
        damaged[at : at + len(word)] = word
        paths.append(tmp_path / f"{number}.gguf")
        paths[-1].write_bytes(damaged)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(made().llm), *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = done.stdout.split()
    assert done.returncode == 0, f"after {len(said)} files: {done.returncode} {done.stderr[-2000:]}"
    assert len(said) == 60 and set(said) <= {"ran", "refused"}
    assert "refused" in said


# -- pairs and requests ---------------------------------------------------------------------------


def test_vocabularies_that_differ(tmp_path: Path) -> None:
    tokens = header.read(tiny.foreign().slm).values["tokenizer.ggml.tokens"]
    changed = [*tokens[:5], "strange", *tokens[6:]]
    path = rewritten(
        tiny.foreign().slm, tmp_path / "m.gguf", same, **{"tokenizer.ggml.tokens": changed}
    )
    assert "do not share a vocabulary: 2 tokens differ" in refused(path, BadPair)


def test_a_context_that_is_too_small(tmp_path: Path) -> None:
    path = rewritten(tiny.files().slm, tmp_path / "m.gguf", same, **{"qwen2.context_length": 20})
    with rstitch.load(slm=str(path), llm=str(tiny.files().llm)) as both:
        with pytest.raises(BadRequest, match="whose context is 20; shorten it to at most 19"):
            both.generate(QUESTION)
        short = both.generate("a", raw=True, policy="slm", max_tokens=100)
        assert short.reason == "length" and short.usage.tokens == 19


def test_a_template_that_refuses(tmp_path: Path) -> None:
    """Rendered as transformers does it, tools of templates included."""
    text = "{%- for m in messages -%}{{ m | tojson }}{%- break -%}{%- endfor -%}"
    path = tmp_path / "a.gguf"
    rewritten(tiny.foreign().slm, path, same, **{"tokenizer.chat_template": text})
    messages = [{"role": "user", "content": "é"}]
    found = loader.read_files(str(path)).tokenizer.apply_chat_template(messages)
    assert found == '{"role": "user", "content": "é"}'
    path = tmp_path / "b.gguf"
    text = "{{ raise_exception('no such luck') }}"
    rewritten(tiny.foreign().slm, path, same, **{"tokenizer.chat_template": text})
    with rstitch.load(slm=str(path), llm=str(tiny.files().llm)) as both:
        with pytest.raises(BadRequest, match="template refuses the messages: no such luck"):
            both.generate(QUESTION)


def test_kv_memory_that_is_too_small() -> None:
    with rstitch.load(**tiny.files().names, kv_memory=0.00001) as both:
        with pytest.raises(BadRequest, match="holds 0 in all; .* or raise kv_memory"):
            both.generate(QUESTION)


def test_kv_types_that_do_not_go(tmp_path: Path) -> None:
    """Heads of 16 numbers are no multiple of q8_0's 32."""
    with pytest.raises(BadRequest) as caught:
        rstitch.load(**tiny.files().names, kv_type="q8_0")
    said = str(caught.value)
    assert "K cache type q8_0 with block size 32 does not divide" in said and "\\n" not in said


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp.llama_cpp", None)
    library.library.cache_clear()
    try:
        with pytest.raises(BadRequest, match=r"GGUF models need llama-cpp-python .*pip install '"):
            rstitch.load(**tiny.files().names)
    finally:
        monkeypatch.undo()
        library.library.cache_clear()
        library.library()


FETCH = """
from rstitch.errors import BadModel
from rstitch.llamacpp import loader
found = loader.read_files("lab/tiny-GGUF:slm-f32.gguf")
print(found.header.architecture, found.path.stat().st_size)
try:
    loader.read_files("lab/tiny-GGUF:none.gguf")
except BadModel as error:
    print(error)
"""


def test_a_file_of_the_hub(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    shutil.copy(tiny.files().slm, repository / "slm-f32.gguf")
    with hub({"lab/tiny-GGUF": repository}) as served:
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": served.url, "HF_HOME": str(tmp_path / "h")}
        done = subprocess.run(
            [sys.executable, "-c", FETCH],
            env={**os.environ, **online},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.stdout.splitlines() == [
        f"qwen2 {tiny.files().slm.stat().st_size}",
        "lab/tiny-GGUF has no file none.gguf on the hub; choose one that is listed on its page",
    ], done.stderr


def test_a_file_of_the_hub_without_the_hub() -> None:
    with pytest.raises(BadModel, match="lab/tiny-GGUF .*it cannot be loaded|no hub in reach"):
        loader.read_files("lab/tiny-GGUF:none.gguf")
