"""Random pairs shaped like published ones: one base vocabulary, special tokens that differ.

L1 has DeepSeek-R1's special tokens; QwQ's have other names, and `<think>` another id. In the pairs
here both sides are the same network, the LLM's embedding rows put where its tokenizer wants them:
what must come out of any stitching is then what one side alone writes.
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from rstitch.types import Side
from tests import pair as tiny

BOS, EOT = "<｜begin▁of▁sentence｜>", "<|EOT|>"
R1_END, USER, ASSISTANT = "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"
END, START, STOP = tiny.END, tiny.START, tiny.STOP
THINK, UNTHINK, CALL = tiny.THINK, tiny.UNTHINK, "<tool_call>"

R1_TEMPLATE = (
    "{{- '<｜begin▁of▁sentence｜>' -}}{%- for message in messages -%}"
    "{{- '<｜User｜>' + message['content'] -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<｜Assistant｜>' -}}{%- endif -%}"
)


@dataclass(frozen=True)
class Shape:
    """Added tokens in the order of their ids, end of text and template."""

    added: tuple[str, ...]
    end: str
    template: str


R1 = Shape((R1_END, USER, ASSISTANT, BOS, EOT, THINK, UNTHINK), R1_END, R1_TEMPLATE)
QWQ = Shape((END, START, STOP, CALL, "</tool_call>", UNTHINK, THINK), STOP, tiny.TEMPLATE)
"""As many tokens as R1, so that both sides divide entropies by the same ln V."""
PARTNERS = {THINK: THINK, UNTHINK: UNTHINK, R1_END: STOP}
"""R1's tokens that have one in QwQ."""


@lru_cache
def pair(llm: str = "qwq", same: bool = True) -> tiny.Pair:
    """An R1-shaped SLM with an LLM of that shape: the same network on both sides, or another."""
    root = Path(tempfile.mkdtemp(prefix="rstitch-wild-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    found = tiny.Pair(root / "slm", root / "llm")
    shape = QWQ if llm == "qwq" else R1
    for side, directory, kind in ((Side.SLM, found.slm, R1), (Side.LLM, found.llm, shape)):
        words = tokenizer(kind)
        words.save_pretrained(directory)
        made = tiny.model(Side.SLM if same else side, words)
        made.config.eos_token_id = made.generation_config.eos_token_id = words.eos_token_id
        with torch.no_grad():
            give_marks(made.get_input_embeddings().weight, words)
        made.save_pretrained(directory)
    return found


def give_marks(rows: torch.Tensor, words: PreTrainedTokenizerFast) -> None:
    """Thinking marks that are written now and then, at whatever id the tokenizer has them."""
    generator = torch.Generator().manual_seed(7)
    for mark in (THINK, UNTHINK):
        row = torch.randn(rows.shape[1], generator=generator)
        rows[words.convert_tokens_to_ids(mark)] = row * 0.6


def tokenizer(shape: Shape) -> PreTrainedTokenizerFast:
    """The tiny pair's base vocabulary with other tokens on top."""
    content = json.loads(tiny.tokenizer().backend_tokenizer.to_str())
    content["added_tokens"] = []
    core = type(tiny.tokenizer().backend_tokenizer).from_str(json.dumps(content))
    core.add_tokens([AddedToken(token, normalized=False, special=False) for token in shape.added])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=shape.end,
        clean_up_tokenization_spaces=False,
        chat_template=shape.template,
    )
