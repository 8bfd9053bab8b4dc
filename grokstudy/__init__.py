"""Everything is imported as `grokstudy.orchestrator`, `grokstudy.analysis` and `grokstudy.trainables`.

In a checkout these are links to the folders beside this one, and so are the study and cluster files that are shipped;
an installed copy has the folders and files themselves. One name in front of them keeps a user's own `analysis` folder
out of our way, and ours out of theirs.
"""

from __future__ import annotations

from pathlib import Path

if not Path(__file__).with_name("trainables").is_dir():  # a copy of a checkout in which links did not survive
    __path__.append(str(Path(__file__).resolve().parent.parent))
