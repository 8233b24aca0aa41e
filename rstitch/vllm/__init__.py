"""HOW, on unmodified vLLM: an engine process per side, and a coordinator behind the `Engine` seam.

A logits processor (`gate`) reads each distribution where it is made, decides, and says what it saw
in a few numbers beside the token; sessions (`session`) keep each side's KV between hand-offs.
Nothing of vLLM is imported before `engine="vllm"` is asked for.
"""
