"""Orders as regions of cells: which of them a vendor takes, and the best choice under a budget. Pure."""

from geozoom.ordering.adjusting import adjusted
from geozoom.ordering.bounds import most_area_dm2
from geozoom.ordering.choice import OrderChoice, Solver, choose_orders
from geozoom.ordering.lattice import Lattice
from geozoom.ordering.outlines import Rings
from geozoom.ordering.shapes import cell_limits, violations
from geozoom.ordering.sizing import free_area_dm2

__all__ = [
    "Lattice",
    "OrderChoice",
    "Rings",
    "Solver",
    "adjusted",
    "cell_limits",
    "choose_orders",
    "free_area_dm2",
    "most_area_dm2",
    "violations",
]
