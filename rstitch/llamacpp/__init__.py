"""HOW, on llama.cpp: GGUF files under the same engine, several times faster on a CPU than torch.

A second implementation of `rstitch.engine.runner.Runner`; nothing above the runner knows of it. It
needs the extra `rstitch[llamacpp]`, which nothing here imports before a GGUF file is asked for.
"""
