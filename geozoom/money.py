"""Accuracy against money: the policy beside simpler ways to spend it, on the same classifier and price list.

Every way of spending is a sequence of patches over all scenes; so much of it is bought as an area allows:

- policy: by what the model card's benefit says that a patch adds to its scene, per area (its probability s_p where the
  card is silent), as `plan` values patches;
- policy and scout, policy and classifier: the same with the LR classifier's scout or itself asked how sure it is, as
  `plan --when` does; left out where the model has no scout, or the card does not say what that means;
- policy and classifier, two rounds: half of the area so, the rest where both streams, which have seen the first, are
  still unsure, as `plan --catalog` does; left out where the card does not say what that means;
- LR entropy: whole scenes, those first of which the LR stream is least sure;
- centre-first: the central patch of every scene, then the next one outwards of every scene;
- random: as many patches of every scene, drawn uniformly.

Money is the price list's bill for one order of all that area, without minimums: what patches cost at its rate, tiers
and uplifts, not what the polygons around them would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geozoom.bagnet import BagNet
from geozoom.doubt import Doubt, further, log_odds
from geozoom.figures import CENT
from geozoom.grid import PatchGrid
from geozoom.inference import fold_batch_norms, has_bfloat16
from geozoom.model import PatchDrop, apply_mask
from geozoom.moneycurve import (
    CENTRE,
    DOUBT,
    DRAWS,
    ENTROPY,
    OWN,
    POLICY,
    RANDOM,
    SCOUT,
    TWICE,
    MoneyCurve,
    MoneyPoint,
)
from geozoom.prices import DM2_PER_KM2, PriceList
from geozoom.scores import wilson_interval
from geozoom.scoring import Progress

SHARES = (1 / 16, 2 / 16, 3 / 16, 4 / 16, 6 / 16, 8 / 16, 10 / 16, 12 / 16)
"""Shares of the area of all scenes at which every way is measured, beside none, all and the policy's own."""
_SCENES_AT_ONCE = 64
_FORWARD_PX = 2**20


@dataclass(frozen=True, kw_only=True)
class Buyable:
    """Labelled scenes of which every patch is at hand."""

    labels: NDArray[np.int64]
    """(N,) class of each scene."""
    s: NDArray[np.float32]
    """(N, P) the policy's probabilities."""
    lr_log: Tensor
    """(N, K) log-probabilities of the LR stream alone."""
    scout_log: Tensor | None
    """(N, K) the scout's, if the model has one."""
    area_dm2: NDArray[np.int64]
    """(N, P) area of each patch in square decimetres."""
    read: Callable[[NDArray[np.int64]], Tensor]
    """HR images (n, 3, H, W) float32 in 0..1 of the scenes at the indices (n,)."""

    def __len__(self) -> int:
        return len(self.labels)


def patches_cost(prices: PriceList, area_dm2: int) -> Decimal:
    """Return what patches of an area cost together, by the rule of this module."""
    if prices.price_per_scene is not None:
        footprint = prices.shape.footprint_km2 or Decimal(1)
        return (prices.price_per_scene * area_dm2 / (footprint * DM2_PER_KM2)).quantize(CENT)
    return replace(prices, minimum_km2=Decimal(0), minimum_value=Decimal(0)).bill(area_dm2)


def trace_money(
    model: PatchDrop,
    scenes: Buyable,
    prices: PriceList,
    *,
    threshold: float,
    seed: int = 0,
    progress: Progress | None = None,
) -> MoneyCurve:
    """Measure accuracy against money for every way of spending it.

    Each scene's HR image is read once, and once more for two rounds; every mask of a scene is classified once each
    time.

    Args:
        model: Its policy chooses, and its two streams classify, in bfloat16 where the CPU has it.
        scenes: The labelled scenes.
        prices: What patches cost.
        threshold: What the policy itself buys has a probability above it.
        seed: Of random patches and of the order of scenes.
        progress: Called after every few scenes.
    """
    own = scenes.s > threshold
    total = int(scenes.area_dm2.sum())
    shares = {round(share * total) for share in SHARES}
    targets = sorted({0, total, int(scenes.area_dm2[own].sum())} | shares)
    wanted: list[tuple[str, NDArray[np.bool_]]] = [
        (way, mask)
        for way, sequence in _ways(model, scenes, np.random.default_rng(seed))
        for mask in _bought(sequence, scenes.area_dm2, targets)
    ]
    doubts = model.card.doubts_in_rounds
    before = 0
    if doubts is not None:
        twice = _in_two_rounds(model, scenes, doubts, targets, _part(progress, 0, len(scenes)))
        wanted += [(TWICE, mask) for mask in twice]
        before = len(scenes)
    wanted.append((OWN, own))
    masks = np.stack([mask for _, mask in wanted])
    right = np.zeros(masks.shape[:2], dtype=bool)
    for rows, log in _answers(model, scenes, masks, _part(progress, before, 0)):
        right[:, rows] = log.argmax(dim=2).numpy() == scenes.labels[rows]
    points: dict[tuple[str, int], list[MoneyPoint]] = {}
    for step, ((way, mask), found) in enumerate(zip(wanted, right, strict=True)):
        area = int(scenes.area_dm2[mask].sum())
        accuracy = float(found.mean())
        low, high = wilson_interval(accuracy, len(scenes))
        point = MoneyPoint(
            way=way,
            cost=patches_cost(prices, area),
            km2=area / DM2_PER_KM2,
            sampled=float(mask.sum() / len(scenes)),
            accuracy=accuracy,
            low=low / 100,
            high=high / 100,
        )
        points.setdefault((way, step % len(targets)), []).append(point)
    return MoneyCurve(
        points=tuple(_mean(several, len(scenes)) for several in points.values()),
        scenes=len(scenes),
        currency=prices.currency,
        price_list=f"{prices.name} ({prices.source}, {prices.dated})",
        seed=seed,
    )


def _ways(
    model: PatchDrop, scenes: Buyable, rng: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield ways of spending: all patches (N · P,), by scene · P + patch, in the order in which they are bought."""
    count, patches = scenes.s.shape
    benefit = model.card.benefit
    yield POLICY, _best_first(scenes, scenes.s if benefit is None else benefit.marginals(scenes.s))
    for way, doubt, known in (
        (SCOUT, model.card.scout_doubt, scenes.scout_log),
        (DOUBT, model.card.doubt, scenes.lr_log),
    ):
        if doubt is not None and known is not None:
            yield way, _best_first(scenes, doubt.marginals(scenes.s, log_odds(known.numpy())))
    centre = model.grid.centre_order()
    entropy = -(scenes.lr_log.exp() * scenes.lr_log).sum(dim=1).numpy()
    unsure = np.argsort(-entropy, kind="stable")
    yield ENTROPY, (unsure[:, None] * patches + centre).ravel()
    order = rng.permutation(count)
    yield CENTRE, (order * patches + centre[:, None]).ravel()
    for _ in range(DRAWS):
        drawn = rng.random((count, patches)).argsort(axis=1)
        order = rng.permutation(count)
        yield RANDOM, (order * patches + drawn[order].T).ravel()


def _best_first(
    scenes: Buyable, value: NDArray[np.float32], there: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Return all patches, by scene · P + patch: those there (N, P) first, then by what they add (N, P) per area."""
    had = np.zeros(value.shape, dtype=bool) if there is None else there
    # Last key first: patches that add nothing more still differ in probability.
    return np.lexsort((-scenes.s.ravel(), -(value / scenes.area_dm2).ravel(), ~had.ravel()))


def _in_two_rounds(
    model: PatchDrop,
    scenes: Buyable,
    doubts: tuple[Doubt, ...],
    targets: list[int],
    progress: Progress | None,
) -> Iterator[NDArray[np.bool_]]:
    """Yield masks (N, P) of what each target area buys if the second half of it is chosen with the first at hand.

    Args:
        model: Its two streams classify.
        scenes: The labelled scenes.
        doubts: What doubt means where 0, 1, … P - 1 patches are there.
        targets: Areas in square decimetres.
        progress: Called after every few scenes.
    """
    value = doubts[0].marginals(scenes.s, log_odds(scenes.lr_log.numpy()))
    halves = [target // 2 for target in targets]
    first = np.stack(list(_bought(_best_first(scenes, value), scenes.area_dm2, halves)))
    sure = np.zeros(first.shape[:2])
    for rows, log in _answers(model, scenes, first, progress):
        sure[:, rows] = log_odds(log.flatten(0, 1).numpy()).reshape(len(first), len(rows))
    for target, there, known in zip(targets, first, sure, strict=True):
        left = np.where(there, np.float32(0), scenes.s)
        more = further(doubts, left, known, there.sum(axis=1))
        yield from _bought(_best_first(scenes, more, there), scenes.area_dm2, [target])


def _part(progress: Progress | None, before: int, after: int) -> Progress | None:
    """Return what counts a pass over the scenes, of which others come before and after."""
    if progress is None:
        return None
    tell = progress
    return lambda done, total: tell(before + done, before + total + after)


def _bought(
    sequence: NDArray[np.int64], area_dm2: NDArray[np.int64], targets: list[int]
) -> Iterator[NDArray[np.bool_]]:
    """Yield masks (N, P) of what each target area buys of a sequence."""
    reached = np.cumsum(area_dm2.ravel()[sequence])
    for target in targets:
        mask = np.zeros(area_dm2.size, dtype=bool)
        mask[sequence[: np.searchsorted(reached, target, side="right")]] = True
        yield mask.reshape(area_dm2.shape)


@torch.inference_mode()
def _answers(
    model: PatchDrop, scenes: Buyable, masks: NDArray[np.bool_], progress: Progress | None
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Yield a few scenes and the log-probabilities (M, n, K) of their classes under each of the masks (M, N, P)."""
    stream = fold_batch_norms(model.hr).to(memory_format=torch.channels_last)
    size = max(1, _FORWARD_PX // model.card.hr_px**2)
    for start in range(0, len(scenes), _SCENES_AT_ONCE):
        rows = np.arange(start, min(start + _SCENES_AT_ONCE, len(scenes)))
        asked = masks[:, rows]  # (M, n, P)
        which = np.broadcast_to(np.arange(len(rows))[:, None], (len(masks), len(rows), 1))
        keyed = np.concatenate([which, asked], axis=2).reshape(-1, 1 + asked.shape[2])
        distinct, back = np.unique(keyed, axis=0, return_inverse=True)
        at, bought = torch.from_numpy(distinct[:, 0].copy()), torch.from_numpy(distinct[:, 1:]).float()
        read = _reader(stream, model.normalise(scenes.read(rows)), size, model.grid)
        lr_log = scenes.lr_log[torch.from_numpy(rows)][at]
        log = lr_log.clone()
        some = bought.any(dim=1).nonzero().squeeze(1)
        for part in torch.split(some, size):
            log[part] = model.fuse(read(at[part], bought[part]), lr_log[part], bought[part])
        yield rows, log[torch.from_numpy(back.ravel())].view(len(masks), len(rows), -1)
        if progress is not None:
            progress(int(rows[-1]) + 1, len(scenes))


def _reader(
    stream: nn.Module, images: Tensor, size: int, grid: PatchGrid
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what maps indices (n,) of images (B, 3, H, W) and a mask (n, P) for each to logits (n, K) float32.

    Args:
        stream: The HR stream.
        images: Normalised.
        size: Most images of a forward.
        grid: What masks are of.
    """

    def seen(part: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
            found: Tensor = stream.evidence(part) if isinstance(stream, BagNet) else stream(part)
        return found.float()

    if isinstance(stream, BagNet):  # many masks of the same scenes: the curve goes up to all patches
        evidence = torch.cat([seen(part) for part in torch.split(images, size)])
        return lambda at, bought: stream.add_up(evidence[at], bought)
    return lambda at, bought: seen(apply_mask(images[at], bought, grid))


def _mean(points: list[MoneyPoint], scenes: int) -> MoneyPoint:
    """Return the mean of several draws at one area."""
    if len(points) == 1:
        return points[0]
    accuracy = float(np.mean([point.accuracy for point in points]))
    low, high = wilson_interval(accuracy, scenes)
    return replace(
        points[0],
        cost=(sum((point.cost for point in points), Decimal(0)) / len(points)).quantize(CENT),
        km2=float(np.mean([point.km2 for point in points])),
        sampled=float(np.mean([point.sampled for point in points])),
        accuracy=accuracy,
        low=low / 100,
        high=high / 100,
    )
