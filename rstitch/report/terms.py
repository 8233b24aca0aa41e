"""The columns of a report in a sentence each; docs/evaluation.md has them in full."""

TERMS: tuple[tuple[str, str], ...] = (
    ("right %", "answers that the task's grader finds right"),
    ("against", "difference to the LLM alone in points, on the problems that both have finished"),
    ("p", "two-sided, by the signs of the problems that differ, after Holm over the methods"),
    ("not worse", "the lower end of the interval lies above -1 point, on 299 problems at least"),
    ("cut off %", "answers that the budget of tokens ended"),
    ("LLM %", "tokens that the LLM wrote, of those that were kept"),
    ("off by", "points between a control's LLM share and that of the rule it is matched to"),
    (
        "speed-up",
        "seconds of the LLM alone over the method's: sums over problems, 95 % by bootstrap",
    ),
    ("geometric", "mean of the speed-ups of single problems"),
    ("slower %", "problems on which the method takes longer than the LLM alone"),
    ("= tokens", "how many times fewer tokens it writes"),
    ("x s/token", "how many times less a token takes; the product of both is the speed-up"),
    ("frontier", "no other method is as good in accuracy and speed, and better in one"),
)
