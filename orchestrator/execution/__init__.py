"""Train what is missing: the driver, its launches on Ray Tune, and what watches over them."""
