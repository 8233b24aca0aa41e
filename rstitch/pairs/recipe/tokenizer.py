"""The tokenizer that both built-in models share.

A byte-level BPE whose vocabulary holds every common word of the problems whole, so that a trace is
short and one token is one decision. The words need no merge rules of their own (``ignore_merges``),
which keeps the vocabulary small; the few merges there are serve words that training never saw.
"""

from __future__ import annotations

import json
from collections import Counter

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PIECES = r" ?\\boxed\{|\d| ?[A-Za-z]+|\n+| ?[^\w\s]+| +"
"""traces.PIECE, but ``\\boxed{`` keeps the space before it."""
END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
THINK, UNTHINK = "<think>", "</think>"
SPECIAL = (END, START, STOP, *(f"<|reserved_{i}|>" for i in range(8)))
MERGES = 160
MAX_WORDS = 1050
MIN_COUNT = 3
TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n<think>\\n' -}}{%- endif -%}"
)


def prompt_text(question: str) -> str:
    """What the chat template makes of a question, written out because training needs it often."""
    return f"{START}user\n{question}{STOP}\n{START}assistant\n{THINK}\n"


def splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def train_tokenizer(lines: list[str]) -> PreTrainedTokenizerFast:
    """Bytes, a few merges, then the most frequent pieces whole, in order of frequency."""
    split = splitter()
    counts = Counter(piece for line in lines for piece, _ in split.pre_tokenize_str(line))
    counts.update(dict.fromkeys(("system", "user", "assistant"), MIN_COUNT))
    vocab, merges = _merges(counts)
    common = [piece for piece, count in counts.most_common() if count >= MIN_COUNT]
    for piece in [piece for piece in common if piece not in vocab][:MAX_WORDS]:
        vocab[piece] = len(vocab)
    core = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    core.pre_tokenizer = split
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL])
    # As in Qwen3: the think marks are text that a caller wants to see, so they are not special.
    core.add_tokens([AddedToken(t, normalized=False, special=False) for t in (THINK, UNTHINK)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=STOP,
        pad_token=END,
        additional_special_tokens=[t for t in SPECIAL if t not in (END, STOP)],
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
        padding_side="left",
        chat_template=TEMPLATE,
    )


def _merges(counts: Counter[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The 256 bytes and MERGES merges, learnt on each word once: frequent ones are whole anyway."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=256 + MERGES, initial_alphabet=alphabet, show_progress=False
    )
    learner = Tokenizer(models.BPE())
    # The pieces are in byte-level letters already, so nothing may split or map them again.
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner.train_from_iterator(sorted(counts), trainer)
    found = learner.get_vocab()
    vocab = {token: i for i, token in enumerate(sorted(found, key=lambda t: found[t]))}
    return vocab, _rules(learner)


def _rules(learner: Tokenizer) -> list[tuple[str, str]]:
    rules = json.loads(learner.to_str())["model"]["merges"]
    return [(rule[0], rule[1]) for rule in rules]
