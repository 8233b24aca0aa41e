"""The paper's own figures, as printed: what ours stand beside, and what a report draws."""
