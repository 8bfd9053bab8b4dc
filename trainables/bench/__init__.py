"""How fast this machine trains, whether its numbers are right, and how many members of a pack pay."""
