"""`python -m edgesmith` is `edgesmith`."""

from edgesmith.cli import main

main()
