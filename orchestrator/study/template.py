"""The study file that `grokstudy new` writes: complete, valid, and explained line by line."""

from __future__ import annotations

TEMPLATE = """\
# {name}: one question, one file. Everything left out has a default; `grokstudy plan` says what the file comes to.
hypothesis: A model that has seen facts composed in both hops answers unseen two-hop questions; others do not.

# Options that all trials share.
base:
  data:
    entities: 60          # entities of the knowledge graph
    relations: 12         # relations
    out_degree: 6         # facts per entity
    ood_fraction: 0.2     # share of the facts that are never trained in composition
    phi: 3.6              # two-hop facts per atomic fact in the training set
    holdout: 0.2          # share of the two-hop facts that is kept for testing; more than the default .1,
    mixed_holdout: 0.3    # since the circuit is measured on what was never trained
  model: {{layers: 2, width: 64, heads: 4}}
  optim: {{lr: 0.002, weight_decay: 0.1}}
  train: {{steps: 1500, batch: 128}}
  # Evaluations and what is measured inside the model, in steps: every 100 at first, and late in a long run each 3.4 to
  # 5 per cent later than the one before (`grid: linear`: every 100 throughout). Every training step is recorded anyway.
  eval: {{grid: thinning, every: 100, probes: [logit_lens, capacity, mediation]}}

# What is varied: every combination is a trial, for every seed.
space:
  data.exposure: [natural, both_hops]   # a list of values
  # optim.weight_decay: {{log: [0.03, 1.0], points: 3}}   # or a range
  # depth:                                               # or named arms, which set several options together
  #   shared: {{model.layers: 2, model.loops: 2}}
  #   untied: {{model.layers: 4, model.loops: 1}}

seeds: [0, 1, 2]          # the more, the narrower the intervals; 6 or more for tests that mean something

# Threshold crossings that the answer speaks of; changing one needs no training. Without this section there are
# five by default: memorised, generalised, circuit, mediated and decodable.
# events:
#   generalised: {{metric: accuracy, split: test_oo, at_least: 0.5, for: 3}}

resources: {{cpu: 1, max_failures: 2}}   # of one worker; `auto` measures what pays
"""
