"""An OpenAI-compatible server for a stitched pair: what it is told, who may ask, and what it says.

`config`, `keys`, `fair`, `metrics` and `logs` know nothing of HTTP.
"""
