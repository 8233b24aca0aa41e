"""The forward pass of plain decoders over pages, with few and large kernels.

A small model's step on a GPU is bound by the number of its kernels, not by their work. For the
families whose layers are known here, queries, keys and values come from one product, gate and up
projection from one, and what lies between products is three kernels a layer.
"""
