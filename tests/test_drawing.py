from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from geozoom.drawing import save_figure


def test_a_name_in_letters_that_the_font_lacks_is_drawn_without_a_warning(tmp_path: Path) -> None:
    figure = Figure(layout="constrained")
    figure.subplots().set_title("空港 🚀")
    save_figure(figure, tmp_path / "f.png", dpi=50)
    with Image.open(tmp_path / "f.png") as picture:
        picture.load()
