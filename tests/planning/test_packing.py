"""Which runs train together."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grokstudy.orchestrator.planning.packing import BUNDLES_PER_WORKER, bundles_of, packs_of
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.trainables.config import RunConfig

Small = Callable[..., RunConfig]


def runs(configs: list[RunConfig]) -> list[Run]:
    return [Run(config.run_id, config, ()) for config in configs]


def sizes(packs: list[list[Run]]) -> list[int]:
    return sorted(len(pack) for pack in packs)


def test_equal_shapes_go_together_up_to_what_pays(small: Small) -> None:
    wide, narrow = ([small(seed=s, model={"width": w}) for s in range(5)] for w in (32, 16))
    packs = packs_of(runs([*wide, *narrow]), {}, lambda config, most: min(most, 64 // config.model.width), 1)
    assert sizes(packs) == [1, 1, 2, 2, 4]
    assert all(len({run.config.model.width for run in pack}) == 1 for pack in packs)


def test_no_worker_is_left_idle_for_a_larger_pack(small: Small) -> None:
    eight = runs([small(seed=s) for s in range(8)])
    assert sizes(packs_of(eight, {}, lambda _, most: most, 4)) == [2, 2, 2, 2]
    assert sizes(packs_of(eight[:3], {}, lambda _, most: most, 4)) == [1, 1, 1]


def test_runs_that_go_on_from_different_steps_do_not_go_together(small: Small) -> None:
    four = runs([small(seed=s) for s in range(4)])
    packs = packs_of(four, {four[0].run_id: 20, four[1].run_id: 20}, lambda _, most: most, 1)
    assert {frozenset(run.run_id for run in pack) for pack in packs} == {
        frozenset(run.run_id for run in four[:2]),
        frozenset(run.run_id for run in four[2:]),
    }


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 60), min_size=1, max_size=20), st.integers(1, 6), st.integers(1, 8))
def test_every_run_is_in_one_pack_and_the_costliest_comes_first(
    small: Small, lengths: list[int], workers: int, pays: int
) -> None:
    all_runs = runs([small(seed=s, train={"steps": n}) for s, n in enumerate(lengths)])
    packs = packs_of(all_runs, {}, lambda _, most: min(most, pays), workers)
    assert sorted(run.run_id for pack in packs for run in pack) == sorted(run.run_id for run in all_runs)
    costs = [sum(run.config.train.steps for run in pack) for pack in packs]
    assert costs == sorted(costs, reverse=True)
    assert len(packs) >= min(workers, len(all_runs))


def test_very_many_packs_are_shared_out_in_bundles_in_their_order(small: Small) -> None:
    few, many = ([[run] for run in runs([small(seed=s) for s in range(n)])] for n in (20, 300))
    assert bundles_of(few, 2) == [[pack] for pack in few]
    bundles = bundles_of(many, 2)
    assert [pack for bundle in bundles for pack in bundle] == many
    assert BUNDLES_PER_WORKER < len(bundles) <= 2 * BUNDLES_PER_WORKER
    assert bundles_of([], 2) == []
