"""What the events of several runs say together: survival, association, and whether two come apart."""
