"""Benchmarks: each figure compares two things in one process, alternating, and is one JSON line.

`make bench` runs them all. Ratios travel between machines; absolute times do not.
"""
