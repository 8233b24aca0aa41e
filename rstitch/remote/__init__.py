"""The in-process engine in a process of its own, behind the same seam.

What else the caller's process does, HTTP above all, then has an interpreter of its own to do it in.
"""
