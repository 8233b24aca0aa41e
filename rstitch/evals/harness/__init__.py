r"""lm-evaluation-harness: `rstitch` as one of its models, on this package's engine and methods.

    python -m rstitch.evals.harness run --model rstitch --model_args pair=r1-7b,tau=0.02 \
        --tasks gsm8k --apply_chat_template

lm_eval (0.4.13) looks for models in a list of its own, not among entry points, so it has to see
this package first: run it as above in the place of `lm_eval`, or import it before
`simple_evaluate(model="rstitch")`.
"""

from rstitch.evals.harness.model import Stitched

__all__ = ["Stitched"]
