"""Training of small transformers, and measurements inside them. Runs with torch, numpy and pyarrow alone.

Nothing here imports Ray, MLflow or the orchestrator: `python -m trainables train` works on a bare
GPU machine. Tensor names carry their axes: M member of a pack, B example, T token position, H head,
D width of the residual stream, V vocabulary, P flat parameters, L effective depth.
"""
