"""Files of a root: the store, one run's directory, its tables, checkpoints and what is kept of them."""
