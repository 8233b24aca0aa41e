"""Studies: a whole table of the paper as one command that can be afforded, killed and checked.

spec        what a study file says
cells       the evaluation runs that it takes
estimate    how long they would take, from a tiny probe of the loaded pair
shrink      what is left out where that is too long, in a stated order
kept        the directory: what was settled, so that it can be gone on with
price       seconds of answers that nobody timed, from those that were
outcome     ours beside the paper's
"""
