"""A study file: reading it, checking it, and what it comes to at each point of its space."""
