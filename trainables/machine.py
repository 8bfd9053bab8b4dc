"""What this process may use of its machine: cores by affinity mask and control group, not by what is built in."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """Cores that this process may keep busy at once; at least one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, int(_quota(CGROUP) or allowed)))


def _quota(folder: Path) -> float | None:
    """Cores that a control group grants, by its version 2 or 1; None without a limit."""
    try:
        if (folder / "cpu.max").is_file():
            granted, period = (folder / "cpu.max").read_text().split()
        else:
            granted = (folder / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu/cpu.cfs_period_us").read_text().strip()
        return max(1.0, int(granted) / int(period)) if granted not in ("max", "-1") else None
    except (OSError, ValueError):
        return None
