"""The pipeline of a plan: tiles → scenes → policy → values → choice."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Unpack

from geozoom.area import read_area
from geozoom.bands import ReadOptions
from geozoom.benefit import value_unit
from geozoom.budget import Budget
from geozoom.card import ModelCard
from geozoom.deliveries import Received
from geozoom.doubt import When
from geozoom.drafting import check_orders
from geozoom.errors import CatalogError, VectorError
from geozoom.grounds import lay_grounds
from geozoom.model import PatchDrop, load_model
from geozoom.offer import AtOnce, Offer
from geozoom.ordering import Solver
from geozoom.orders import Plan
from geozoom.overlaps import OverlapRule
from geozoom.patches import Patches
from geozoom.pieces import MOST_CELLS, Pieces
from geozoom.placement import first_of_each_place, footprints
from geozoom.planned import Planning, check_together, who_says_when
from geozoom.pricelists import load_price_list
from geozoom.prices import PriceList
from geozoom.purchase import Purchase
from geozoom.scenes import SceneLimits
from geozoom.scoring import Scored, count_scenes, score
from geozoom.sites import SitesOnTiles, read_sites
from geozoom.tiles import Tile, open_tiles
from geozoom.workers import Made, purchase_each

DEFAULT_THRESHOLD = 0.5
"""The paper's deterministic policy buys a patch where s_p is above this."""


def plan(
    inputs: Sequence[str | Path],
    *,
    budget: Budget | Decimal | int | str | None = None,
    solver: Solver = "fast",
    **how: Unpack[Planning],
) -> Plan:
    """Choose the HR patches that are worth buying over all tiles at once.

    Args:
        inputs: LR rasters: files, folders, `/vsi…` paths or URLs.
        budget: What may be spent, in the price list's currency ("5000" or "5000 USD"); None buys every candidate.
        solver: "exact" proves the optimum of small cases.
        how: See `geozoom.planned.Planning`.

    Raises:
        BudgetError: The budget is no positive amount, or in another currency than the prices.
        SolverError: The case is too large for the exact solver.
        GeozoomError: See `prepare`.
    """
    spend = None if budget is None else Budget.of(budget)
    how["prices"] = price_list = _price_list(how)
    if spend is not None:  # before tiles are read
        spend.cents_in(price_list)
    return prepare(inputs, **how).choose(spend, solver=solver)


def prepare(inputs: Sequence[str | Path], **how: Unpack[Planning]) -> Candidates:
    """Find all that could be bought: read the tiles, run the policy, measure the patches.

    Args:
        inputs: LR rasters: files, folders, `/vsi…` paths or URLs.
        how: See `geozoom.planned.Planning`.

    Raises:
        TileError: Tiles cannot be used; every one is named.
        ModelError: The checkpoint cannot be used.
        PriceListError: The price list cannot be used.
        VectorError: The area, what is owned or the sites cannot be used.
        CatalogError: The catalog of deliveries cannot be used.
        DeliveryError: Deliveries in it cannot be used; every one is named.
        ClusterError: The Dask cluster cannot be used.
        ValueError: Sites are given with an area or a cluster, or a catalog with a cluster or with the policy alone.
    """
    check_together(how)
    began = time.perf_counter()
    price_list = _price_list(how)
    named_model = how.get("model")
    policy = named_model if isinstance(named_model, PatchDrop) else load_model(named_model)
    card = policy.card
    when = who_says_when(card, how)
    area, sites = how.get("area"), how.get("sites")
    dask, catalog = how.get("dask"), how.get("catalog")
    delivered = None
    if catalog is not None:
        from geozoom.delivered import Delivered

        delivered = Delivered.open(catalog, how.get("hr_options") or ReadOptions(), policy)
    wanted = None if area is None else read_area(area)
    owned = how.get("owned", ())
    had = read_area(*owned, owned=True) if owned else None
    there = None if catalog is None else read_area(catalog, owned=True)
    named = None if sites is None else read_sites(sites, how.get("label_column"))
    tiles, ignored = open_tiles(
        [str(entry) for entry in inputs], how.get("options") or ReadOptions(), card.lr_gsd_m, card.lr_px
    )
    if wanted is not None and not any(wanted.touches(tile) for tile in tiles):
        raise VectorError(
            f"{area}: lies outside every tile; check the CRS that it says it has, or give tiles of that place"
        )
    if there is not None:
        if not any(there.touches(tile) for tile in tiles):
            raise CatalogError(
                f"{catalog}: none of its deliveries lies on these tiles; give the catalog of what was delivered there"
            )
        had = there if had is None else had | there
    check_orders(price_list, tiles, card)
    placed = None if named is None else SitesOnTiles(named, tiles, card.lr_px, card.lr_gsd_m is not None)
    limits = how.get("limits") or SceneLimits()
    threshold = how.get("threshold")
    if threshold is None and when == "policy":
        threshold = DEFAULT_THRESHOLD
    overlap: OverlapRule = how.get("overlap", "latest")
    progress = how.get("progress")
    find: Callable[..., Scored] = partial(score, sites=placed, delivered=delivered)
    if dask is not None:
        from geozoom.cluster import score_on

        find = partial(score_on, dask)
    scored = find(
        tiles,
        policy,
        limits,
        threshold,
        overlap=overlap,
        area=wanted,
        owned=had,
        when=when,
        spill=placed is None and count_scenes(tiles, card) * card.grid.patches > MOST_CELLS,
        progress=progress,
    )
    patches = scored.candidates
    offer: Offer
    if isinstance(patches, Patches):
        if placed is not None:
            patches = patches[first_of_each_place(footprints(tiles, patches, card, placed))]
        grounds = lay_grounds(
            tiles,
            patches,
            card,
            price_list.shape,
            sites=placed,
            owned=had,
            refused=scored.refused,
            hosts=scored.hosts,
        )
        offer = AtOnce(tiles=tiles, patches=patches, grounds=grounds)
    else:
        offer = Pieces(
            tiles=tiles, card=card, spilled=patches, owned=had, refused=scored.refused, hosts=scored.hosts
        )
    return Candidates(
        tiles=tuple(tiles),
        card=card,
        prices=price_list,
        threshold=threshold,
        when=when,
        ignored=ignored,
        received=None if delivered is None else delivered.received,
        scored=replace(
            scored,
            candidates=patches,
            settled_by_name=scored.settled_by_name if overlap == "latest" else (),
        ),
        sites=placed,
        owned_elsewhere=had is not None and not any(had.touches(tile) for tile in tiles),
        offer=offer,
        seconds=time.perf_counter() - began,
    )


def _price_list(how: Planning) -> PriceList:
    given = how.get("prices")
    return given if isinstance(given, PriceList) else load_price_list(given)


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """All that could be bought, of which plans for any budget are made."""

    tiles: tuple[Tile, ...]
    card: ModelCard
    prices: PriceList
    threshold: float | None
    """Candidates have a probability above it, if one was given."""
    when: When
    """What said when HR is worth buying."""
    ignored: tuple[str, ...]
    """Entries of the folders given that were not read as tiles."""
    received: Received | None
    """The deliveries that were looked at, if any."""
    scored: Scored
    """What the policy made of all scenes."""
    sites: SitesOnTiles | None
    """The scenes, if they do not lie on a lattice."""
    owned_elsewhere: bool
    """What is owned lies on none of the tiles."""
    offer: Offer
    """What can be ordered."""
    seconds: float
    """Time that checking and reading the tiles and running the policy took."""
    _made: list[tuple[int, Purchase, Patches]] = field(default_factory=list, repr=False, compare=False)
    """Cents that plans were made for, and what they buy."""

    @property
    def value_unit(self) -> str:
        """What the value of a plan counts."""
        return value_unit(self.card.benefit)

    def choose(self, budget: Budget | None, *, solver: Solver = "fast") -> Plan:
        """Choose what is worth most under a budget; None buys every candidate.

        It is worth no less than what was chosen of these candidates for less money before.

        Args:
            budget: What may be spent.
            solver: "exact" proves the optimum of small cases.

        Raises:
            BudgetError: The budget is in another currency than the prices.
            SolverError: The case is too large for the exact solver.
        """
        return self._plan(None if budget is None else budget.cents_in(self.prices), solver)

    def choose_each(
        self, budgets: Sequence[Budget], *, solver: Solver = "fast", workers: int = 1
    ) -> list[Plan]:
        """Choose what is worth most under each of several budgets, the least first; equal ones make one plan.

        The plans are those that `choose` makes of these budgets in turn.

        Args:
            budgets: What may be spent.
            solver: "exact" proves the optimum of small cases.
            workers: Most processes to work in; see `geozoom.workers.purchase_each`.

        Raises:
            BudgetError: A budget is in another currency than the prices.
            SolverError: The case is too large for the exact solver.
        """
        rising = sorted({budget.cents_in(self.prices) for budget in budgets})
        unknown = [cents for cents in rising if self._everything_within(cents) is None]
        ahead = purchase_each(self.offer, self.prices, unknown, solver, workers)
        return [self._plan(cents, solver, ahead.get(cents)) for cents in rising]

    def _plan(self, budget_cents: int | None, solver: Solver, ahead: Made | None = None) -> Plan:
        began = time.perf_counter()
        bought, chosen = self._purchase(budget_cents, solver, ahead)
        elsewhere = 0.0 if ahead is None else ahead[2]
        return Plan(
            tiles=self.tiles,
            card=self.card,
            prices=self.prices,
            budget=None if budget_cents is None else Decimal(budget_cents).scaleb(-2),
            threshold=self.threshold,
            when=self.when,
            solver=solver,
            ignored=self.ignored,
            received=self.received,
            scenes_with_hr=self.scored.scenes_with_hr,
            scenes=self.scored.scenes,
            scenes_skipped=self.scored.skipped,
            tiles_with_zeros=self.scored.tiles_with_zeros,
            settled_by_name=self.scored.settled_by_name,
            owned_elsewhere=self.owned_elsewhere,
            candidates=len(self.scored.candidates),
            patches=chosen,
            orders=bought.orders,
            order=bought.order,
            sites=self.sites,
            seconds_scenes=self.seconds,
            seconds_choice=elsewhere + time.perf_counter() - began,
            bound=bought.bound,
            next_cost=bought.next_cost,
            next_lacking=bought.next_lacking,
        )

    def _purchase(
        self, budget_cents: int | None, solver: Solver, ahead: Made | None
    ) -> tuple[Purchase, Patches]:
        if budget_cents is not None:
            everything = self._everything_within(budget_cents)
            if everything is not None:
                return everything
        bought, chosen = ahead[:2] if ahead else self.offer.purchase(self.prices, budget_cents, solver)
        if budget_cents is None:
            self._made.append((int(100 * sum(order.cost for order in bought.orders)), bought, chosen))
            return bought, chosen
        # The fast solver may find a better plan for less money, which is one for more money too.
        cheaper = [made for made in self._made if made[0] <= budget_cents]
        before, best, patches = max(cheaper, key=lambda made: made[1].value, default=(0, bought, chosen))
        if best.value > bought.value:
            lacking = best.next_lacking
            left = Decimal(budget_cents - before).scaleb(-2)
            lacking = None if lacking is None else max(Decimal("0.00"), lacking - left)
            bought, chosen = replace(best, bound=max(bought.bound, best.value), next_lacking=lacking), patches
        self._made.append((budget_cents, bought, chosen))
        return bought, chosen

    def _everything_within(self, budget_cents: int) -> tuple[Purchase, Patches] | None:
        """Return what buys every candidate, where that was found for no more than a budget."""
        for spent, all_of_it, patches in self._made:
            if spent <= budget_cents and len(patches) == len(self.scored.candidates):
                return replace(all_of_it, next_cost=None, next_lacking=None), patches
        return None
