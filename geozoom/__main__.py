"""python -m geozoom."""

from geozoom.cli import run

if __name__ == "__main__":
    run()
