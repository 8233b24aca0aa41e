"""The hand table of the grader: (reply, gold, right)."""

from __future__ import annotations

PLAIN = [
    ("\\boxed{42}", "42", True),
    ("\\boxed{ 42 }.", "42", True),
    ("so the answer is 42.", "42", True),
    ("The final answer is: $42$.", "42", True),
    ("**Answer:** 42", "42", True),
    ("She has 3 boxes of 14 apples, that is 42", "42", True),
    ("reasoning\n#### 42", "42", True),
    ("\\boxed{41}, no: \\boxed{42}", "42", True),
    ("\\boxed{42}, no: \\boxed{41}", "42", False),
    ("\\boxed{42.0}", "42", True),
    ("\\boxed{042}", "42", True),
    ("\\boxed{-42}", "42", False),
    ("\\boxed{−42}", "-42", True),
    ("\\boxed{+7}", "7", True),
    ("\\boxed{-0}", "0", True),
    ("\\boxed{.5}", "0.5", True),
    ("\\boxed{420}", "42", False),
]
THINKING = [
    ("<think>\\boxed{41}</think> \\boxed{42}", "42", True),
    ("<think>maybe 41</think> The answer is 42", "42", True),
    ("maybe \\boxed{41}</think>\n\nThe answer is 42", "42", True),
    ("<think>I get \\boxed{42}</think> done", "42", True),
    ("<think>I count 40, 41, 42", "42", False),
    ("<think>I get \\boxed{42} and stop", "42", True),
    ("", "42", False),
    ("<think></think>", "42", False),
    ("no idea", "42", False),
    ("\\boxed{}", "42", False),
    ("\\boxed{42", "42", False),
]
NUMBERS = [
    ("\\boxed{1,234}", "1234", True),
    ("\\boxed{1{,}234}", "1234", True),
    ("\\boxed{1\\,234}", "1234", True),
    ("\\boxed{12,34}", "1234", False),
    ("it costs $1,234.50", "1234.5", True),
    ("\\boxed{50\\%}", "50", True),
    ("\\boxed{50\\%}", "0.5", True),
    ("\\boxed{0.5}", "50\\%", True),
    ("\\boxed{0.5}", "50", False),
    ("\\boxed{8 \\%}", "$8 \\%$", True),
    ("\\boxed{\\frac{1}{2}}", "0.5", True),
    ("\\boxed{\\dfrac12}", "\\frac{1}{2}", True),
    ("\\boxed{\\frac{2}{4}}", "\\frac{1}{2}", True),
    ("\\boxed{-\\frac{1}{2}}", "\\frac{-1}{2}", True),
    ("\\boxed{1/2}", "\\frac{1}{2}", True),
    ("\\boxed{1/3}", "0.3333", False),
    ("\\boxed{4.46 \\times 10^{19}}", "4.46e19", True),
    ("\\boxed{4.46\\cdot10^{18}}", "4.46e19", False),
    ("\\boxed{6.5e-2}", "0.065", True),
    ("\\boxed{\\frac{1}{0}}", "1", False),
]
UNITS = [
    ("\\boxed{76^\\circ}", "76", True),
    ("\\boxed{76}", "76^\\circ", True),
    ("\\boxed{5 \\text{ cm}}", "5", True),
    ("\\boxed{5\\ \\mathrm{m/s}}", "5", True),
    ("\\boxed{12 \\text{ square units}}", "12", True),
    ("\\boxed{\\$18}", "18", True),
    ("\\boxed{\\text{42}}", "42", True),
    ("\\boxed{x = 5}", "5", True),
    ("\\boxed{f(n)=2n+1007}", "$f(n) = 2 n+1007$", True),
]
TEXTS = [
    ("\\boxed{\\text{Evelyn}}", "\\text{Evelyn}", True),
    ("\\boxed{evelyn}", "\\text{Evelyn}", True),
    ("\\boxed{\\text{Briana}}", "\\text{Evelyn}", False),
    ("\\boxed{\\text{east}}", "\\text{east}", True),
    ("The answer is east.", "\\text{east}", True),
]
ALGEBRA = [
    ("\\boxed{q - p}", "p - q", False),
    ("\\boxed{-q + p}", "p - q", True),
    ("\\boxed{(n+1)(n-1)+2}", "n^{2}+1", True),
    ("\\boxed{2\\sqrt{10}}", "$2 \\sqrt{10}$", True),
    ("\\boxed{\\sqrt{40}}", "$2 \\sqrt{10}$", True),
    ("\\boxed{\\sqrt{41}}", "$2 \\sqrt{10}$", False),
    ("\\boxed{\\frac{\\sqrt{2}}{2}}", "\\frac{1}{\\sqrt{2}}", True),
    ("\\boxed{9i + 6}", "6+9i", True),
    ("\\boxed{\\pi/2}", "\\frac{\\pi}{2}", True),
    ("\\boxed{x^{2}+{2x}}", "x^2+2x", True),
]
COLLECTIONS = [
    ("\\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}", "(3, \\frac{\\pi}{2})", True),
    ("\\boxed{(3, \\frac{\\pi}{3})}", "(3, \\frac{\\pi}{2})", False),
    ("\\boxed{(\\frac{\\pi}{2}, 3)}", "(3, \\frac{\\pi}{2})", False),
    ("\\boxed{(2,12) \\cup (12,102)}", "(2,12)\\cup(12,102)", True),
    ("\\boxed{(2,12] \\cup (12,102)}", "(2,12)\\cup(12,102)", False),
    ("\\boxed{[2,3)}", "(2,3)", False),
    ("\\boxed{1,-2}", "-2,1", True),
    ("\\boxed{\\{1, 2, 3\\}}", "\\{3, 2, 1\\}", True),
    ("\\boxed{\\{1, 2\\}}", "\\{3, 2, 1\\}", False),
    (
        "\\boxed{\\begin{pmatrix} -1 & 0 \\\\ 0 & -1 \\end{pmatrix}}",
        "\\begin{pmatrix} -1 & 0 \\\\ 0 & -1 \\end{pmatrix}",
        True,
    ),
    (
        "\\boxed{\\begin{pmatrix} -1 & 0 \\\\ 0 & 1 \\end{pmatrix}}",
        "\\begin{pmatrix} -1 & 0 \\\\ 0 & -1 \\end{pmatrix}",
        False,
    ),
]
CASES = [*PLAIN, *THINKING, *NUMBERS, *UNITS, *TEXTS, *ALGEBRA, *COLLECTIONS]

HOSTILE = [
    "9**9**9**9",
    "9^{9^{9^{9}}}",
    "(x+1)^{10000000}",
    "{" * 100_000 + "1" + "}" * 100_000,
    "\\boxed{" * 50_000,
    "\\frac{" * 20_000,
    "1e999999999",
    "10^{999999999}",
    "9" * 200_000,
    "\\sum_{n=1}^{10^{10}} \\frac1n",
    "__import__('os').system('exit 1')",
    "\x00\ud800 \U0001f600",
]
"""Answers that must be wrong, soon, and leave the grader as it was."""

LETTERS = [
    ("\\boxed{C}", "C"),
    ("\\boxed{(C)}", "C"),
    ("\\boxed{\\text{C}}", "C"),
    ("\\boxed{C. the moon}", "C"),
    ("The answer is (C).", "C"),
    ("answer: C", "C"),
    ("<think>not (A), nor (B)</think> I choose (C)", "C"),
    ("C", "C"),
    ("C.", "C"),
    ("A or B? Neither convinces me", None),
    ("", None),
    ("\\boxed{42}", None),
]
