"""The budget curve as inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

import math
from html import escape

from geozoom.page.contents import PageData

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 32, 36, 56
_TICKS = 5


def curve_svg(data: PageData) -> str:
    """Return the curve of a page with axes, labels and the plan itself; "" without a curve."""
    curve = data.curve
    if curve is None or not len(curve.cost):
        return ""
    costs, values = [0.0, *curve.cost.tolist()], [0.0, *curve.value.tolist()]
    x_step = _step(max(*costs, float(data.cost)))
    y_step = _step(max(*values, data.value))
    x_end = x_step * math.ceil(max(*costs, float(data.cost)) / x_step)
    y_end = y_step * math.ceil(max(*values, data.value) / y_step)

    def at(cost: float, value: float) -> tuple[float, float]:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * cost / x_end
        y = _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / y_end
        return round(x, 1), round(y, 1)

    parts = []
    for index in range(round(y_end / y_step) + 1):
        x, y = at(0, index * y_step)
        parts.append(f'<line class="grid" x1="{x}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<text x="{x - 8}" y="{y + 4}" text-anchor="end">{_figure(index * y_step, y_step)}</text>'
        )
    for index in range(round(x_end / x_step) + 1):
        x, y = at(index * x_step, 0)
        parts.append(f'<line class="tick" x1="{x}" x2="{x}" y1="{y}" y2="{y + 5}"/>')
        parts.append(
            f'<text x="{x}" y="{y + 20}" text-anchor="middle">{_figure(index * x_step, x_step)}</text>'
        )
    points = [at(cost, value) for cost, value in zip(costs, values, strict=True)]
    parts.append(f'<polyline class="curve" points="{" ".join(f"{x},{y}" for x, y in points)}"/>')
    for (x, y), budget, cost, value in zip(
        points[1:], curve.budget.tolist(), costs[1:], values[1:], strict=True
    ):
        words = f"budget {budget:,.2f}, bill {cost:,.2f} {data.currency}: {value:,.2f} {data.value_unit}"
        parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="4"><title>{escape(words)}</title></circle>')
    x, y = at(float(data.cost), data.value)
    # A curve that rises ever more slowly leaves room below it, on the right.
    anchor, aside = ("end", 14) if x > 0.8 * _WIDTH else ("start", 12)
    parts.append(f'<circle class="here" cx="{x}" cy="{y}" r="7"><title>this plan</title></circle>')
    parts.append(f'<text class="here" x="{x + aside}" y="{y + 26}" text-anchor="{anchor}">this plan</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text class="label" x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">bill, {escape(data.currency)}</text>'
    )
    parts.append('<text class="label" x="0" y="16">benefit</text>')
    title = f"Benefit by bill: {len(curve.cost)} plans, and this plan at {data.cost:,.2f} {data.currency}"
    return (
        f'<svg class="budget-curve" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _step(largest: float) -> float:
    """Return 1, 2 or 5 times a power of ten, so that about _TICKS of them reach the largest figure."""
    rough = (largest or 1.0) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= rough)


def _figure(value: float, step: float) -> str:
    return f"{value:,.{max(0, -math.floor(math.log10(step)))}f}"
