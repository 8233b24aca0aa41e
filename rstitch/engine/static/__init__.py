"""Decoding in steps of fixed shape: forward pass, draw, gate and feedback as one function of
buffers that never move, which CUDA replays as a graph.

A small model's pass is over before the host has launched its kernels one by one and read what came
of it. Here a step is one launch, several steps run before the host looks, and a row whose policy
hands it over stops by itself. On the CPU the same functions run on the same buffers without a
graph, for tests.
"""
