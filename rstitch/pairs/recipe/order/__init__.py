"""The second task: who comes where in an order, told in plain sentences. Its answer is a word.

Statements compare people or things; each one gives something new its place in the order so far.
Nothing is calculated, so the task shows what carries over from arithmetic and what does not.
"""
