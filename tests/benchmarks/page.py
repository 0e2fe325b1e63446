"""How large the page of a million patches is, and how soon it is drawn: python -m tests.benchmarks.page."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from geozoom.page import PageData, write_page
from tests.pages import frame, page_of_many, page_tile

COUNT = 1_000_000
GRANULE_PX = 10_980
ORDER_PX = 500
RUNS = 3


def noisy_page() -> PageData:
    """A million patches of 2 px all over a granule; places, figures and picture are noise, the worst to pack."""
    rng = np.random.default_rng(0)
    data = page_of_many(1000)
    side = GRANULE_PX // 2
    places = np.sort(rng.choice(side * side, COUNT, replace=False))
    top, left = 2 * (places // side), 2 * (places % side)
    across = -(-GRANULE_PX // ORDER_PX)
    patches = replace(
        data.patches,
        box=np.column_stack([left, top, left + 2, top + 2]).astype(float),
        value=rng.gamma(2, 0.01, COUNT),
        probability=rng.uniform(0.5, 1, COUNT),
        area_km2=rng.normal(4e-4, 1e-8, COUNT),
        cost_share=rng.normal(4e-3, 1e-6, COUNT),
        order=top // ORDER_PX * across + left // ORDER_PX,
    )
    squares = ((number, *divmod(number, across)) for number in range(across * across))
    orders = tuple(
        replace(
            data.orders[0],
            id=number,
            rings=((0, ORDER_PX * frame(col, row, col + 1, row + 1)),),
        )
        for number, row, col in squares
    )
    picture = rng.integers(60, 140, (1500, 1500, 4), dtype=np.uint8)
    picture[..., 3] = 255
    tile = page_tile("granule.tif", width=GRANULE_PX, height=GRANULE_PX, picture=picture)
    return replace(data, tiles=(tile,), patches=patches, orders=orders)


def main() -> None:
    """Write the page, open it some times, zoom in, and print what it took."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "plan.html"
        data = noisy_page()
        began = time.perf_counter()
        write_page(path, data)
        print(f"written in {time.perf_counter() - began:.1f} s, {path.stat().st_size / 1e6:.1f} MB")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for _ in range(RUNS):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(path.as_uri())
            page.wait_for_selector("html[data-ready]", timeout=120_000)
            drawn = page.evaluate("performance.getEntriesByName('geozoom-drawn')[0].startTime")
            frames = page.evaluate(
                """async () => {
                  const canvas = document.getElementById("canvas");
                  const frames = [];
                  for (let step = 0; step < 12; step += 1) {
                    const began = performance.now();
                    canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "+" }));
                    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
                    frames.push(performance.now() - began);
                  }
                  return frames;
                }"""
            )
            print(f"drawn after {drawn / 1000:.1f} s; zooming in, a step took {max(frames):.0f} ms at most")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
