"""What it takes to run a study on a cluster that is already up: jobs, a tunnel, the code that travels."""
