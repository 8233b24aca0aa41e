"""How the built-in pair is made, from problems to published weights.

A user never needs this: it is here so that anyone can make the pair again, and see that nothing in
it was fitted to the problems it is measured on.
"""
