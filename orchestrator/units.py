"""Amounts in words: seconds and bytes."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """`12 days`, `1h05`, `3m20s`, `45s`, or `?`."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole >= 100 * 3600:
        return f"{whole / 86400:,.0f} days"
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def bytes_text(count: int) -> str:
    """`12 kB`, `3 MB`, `1.2 TB`."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
