"""Which tau suits a pair: prompts, what is written for them, the bound, the choice, its card."""
