"""KV in pages: what a GPU wants, where memory must not move and a step is a fixed graph.

Beside the slabs of `rstitch.engine.kv`, which stay the CPU's: page gathers cost a third more there.
All of it runs on the CPU too, slowly, so that it can be tested without a GPU.
"""
