"""`rstitch convert`: a model directory as a GGUF file, for llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rstitch.errors import BadRequest


def convert(
    source: Annotated[str, typer.Argument(help="A model directory, or builtin:slm, builtin:llm.")],
    target: Annotated[Path, typer.Argument(help="The GGUF file to write.")],
    kind: Annotated[str, typer.Option("--type", help="f32, f16, q8_0 or q4_k_m.")] = "f16",
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if there is one.")
    ] = False,
) -> None:
    """Write a Llama, Mistral, Qwen 2 or Qwen 3 with byte-level BPE as one GGUF file."""
    if target.suffix != ".gguf":
        raise BadRequest(f"{target} does not end in .gguf; name a GGUF file to write")
    if target.exists() and not force:
        raise BadRequest(f"{target} exists; name another file, or replace it with --force")
    from rstitch.llamacpp.convert import convert as write
    from rstitch.pairs import BUILTIN

    name, colon, side = source.partition(":")
    if name == "builtin" and colon:
        if side not in ("slm", "llm"):
            raise BadRequest(f"{source} is no model; there are builtin:slm and builtin:llm")
        source = str(BUILTIN / side)
    write(source, target, kind)
    typer.echo(f"{target}: {target.stat().st_size:,} bytes", err=True)
