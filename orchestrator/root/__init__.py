"""Care of a root as a whole: verify, collect garbage, compact, export and import, history."""
