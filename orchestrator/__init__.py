"""From a question in a study file to trained runs: studies, plans, and their execution on Ray.

Only a few files here import Ray or MLflow; reading and checking a study needs neither, nor torch.
"""
