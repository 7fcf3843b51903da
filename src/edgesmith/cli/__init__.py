"""DOOR: argv -> recipe -> pipeline -> exit code. No machine learning; heavy imports stand inside the commands."""

from edgesmith.cli.commands import main

__all__ = ["main"]
