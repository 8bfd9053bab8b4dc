"""From points to trials and runs, and what the root knows of each."""
