"""Two selections of runs side by side: which they are, how they differ, in words and as a page."""
