"""What a study will cost before it is trained, and how its runs are put together."""
