"""MLflow's view of a study: written from the root alone, so it can be rebuilt at any time."""
