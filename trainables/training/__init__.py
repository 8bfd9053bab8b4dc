"""The loop: packs of runs, their engine, and everything that happens between two steps."""
