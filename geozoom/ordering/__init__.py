"""Orders as regions of cells: which of them a vendor takes, and the best choice under a budget. Pure."""

from geozoom.ordering.bounds import most_area_dm2
from geozoom.ordering.choice import OrderChoice, Solver, choose_orders
from geozoom.ordering.lattice import Lattice
from geozoom.ordering.outlines import Rings

__all__ = ["Lattice", "OrderChoice", "Rings", "Solver", "choose_orders", "most_area_dm2"]
