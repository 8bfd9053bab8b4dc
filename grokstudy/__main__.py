"""`python -m grokstudy` is `grokstudy`. Jobs on a cluster start this way, from the code that travels with them."""

from __future__ import annotations

from grokstudy.orchestrator.cli import main

if __name__ == "__main__":
    main()
