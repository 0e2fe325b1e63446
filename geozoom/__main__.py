"""python -m geozoom."""

from geozoom.cli import run

run()
