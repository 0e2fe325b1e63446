"""python -m geozoom."""

from geozoom.cli import main

main(prog_name="geozoom")
