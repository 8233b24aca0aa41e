"""A tiny random pair on disk, in ordinary Hugging Face format: what `rstitch.load` is given.

Byte-level BPE of its own, ChatML whose generation prompt opens a <think> block, padded rows that
differ per side, safetensors. Nothing is downloaded; the pair is made once per test run.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from rstitch.api import Stitch, load
from rstitch.types import Side

CONTEXT = 256
MERGES = 60
END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
THINK, UNTHINK = "<think>", "</think>"
TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n<think>\\n' -}}{%- endif -%}"
)
CORPUS = (
    "Mia has three boxes with seven apples each and gives four apples away. How many are left?",
    "First I multiply, then I subtract. Let me check that. So the answer is seventeen.",
)
QUESTION = "How many apples are left?"


@dataclass(frozen=True)
class Pair:
    """The two model directories, or files."""

    slm: Path
    llm: Path

    @property
    def options(self) -> list[str]:
        """Options of the command line that choose this pair."""
        return ["--slm", str(self.slm), "--llm", str(self.llm)]

    @property
    def names(self) -> dict[str, str]:
        """Arguments of `rstitch.load` that choose it."""
        return {"slm": str(self.slm), "llm": str(self.llm)}

    def copy(self, side: Side, to: Path) -> Path:
        """One model directory of one's own, to damage."""
        return Path(shutil.copytree(self.llm if side is Side.LLM else self.slm, to))


@lru_cache
def pair() -> Pair:
    """Made on first use; removed when the tests end."""
    root = Path(tempfile.mkdtemp(prefix="rstitch-pair-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    found = Pair(root / "slm", root / "llm")
    words = tokenizer()
    for side, directory in ((Side.SLM, found.slm), (Side.LLM, found.llm)):
        words.save_pretrained(directory)
        model(side, words).save_pretrained(directory)
    return found


@lru_cache
def stitch() -> Stitch:
    """The pair, loaded once for all tests that leave it clean."""
    return load(slm=str(pair().slm), llm=str(pair().llm), tau=TAU)


TAU = 0.6
"""Where the pair's entropies lie on both sides of: about half the tokens are the LLM's."""


def tokenizer(merges: int = MERGES) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=256 + merges, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(CORPUS, trainer)
    core.add_special_tokens([AddedToken(t, normalized=False) for t in (END, START, STOP)])
    core.add_tokens([AddedToken(t, normalized=False) for t in (THINK, UNTHINK)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=STOP,
        pad_token=END,
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )


def model(side: Side, words: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """A Qwen2 of 1 or 2 layers with sharp logits. It never writes an added token by itself:
    their embeddings, which are the logits' weights too, are zero."""
    torch.manual_seed(int(side) + 1)
    large = side is Side.LLM
    made = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(words) + (16 if large else 4),
            hidden_size=64 if large else 32,
            intermediate_size=96 if large else 48,
            num_hidden_layers=2 if large else 1,
            num_attention_heads=4 if large else 2,
            num_key_value_heads=2 if large else 1,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            initializer_range=0.3 if large else 0.45,
            bos_token_id=None,
            eos_token_id=words.eos_token_id,
        )
    )
    with torch.no_grad():
        marks = sorted(words.get_added_vocab().values())
        made.get_input_embeddings().weight[marks] = 0.0
    return made.eval()
