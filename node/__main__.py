"""``python -m node`` is ``cxr-node``."""

from node.cli import main

main()
