"""`grokstudy compact`."""

from __future__ import annotations

from grokstudy.orchestrator.commands.common import Quiet, Root, driving, existing, say


def compact(root: Root = "results", quiet: Quiet = False) -> None:
    """Merge the parts of finished runs into one file per run and table. Changes no row."""
    from grokstudy.orchestrator.root.compact import compact as merge
    from grokstudy.trainables.storage.run_dir import run_ids

    store = existing(root)
    with driving(store, "compact", freeing=True):
        before, after = merge(store, sorted(run_ids(store)))
    if not quiet:
        say(f"{store.uri}: {before:,} parts of finished runs, now {after:,}")
