"""Commands that print every published number, each with its rival or ceiling from the same run."""
