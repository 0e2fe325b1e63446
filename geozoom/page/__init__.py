"""A plan as one HTML file that a buyer opens, looks around in and signs: no network, no build step."""

from geozoom.page.contents import PageCurve, PageData, PageOrder, PagePatches, PagePrices, PageTile
from geozoom.page.from_plan import page_data
from geozoom.page.writing import PAGE_SUFFIXES, write_page

__all__ = [
    "PAGE_SUFFIXES",
    "PageCurve",
    "PageData",
    "PageOrder",
    "PagePatches",
    "PagePrices",
    "PageTile",
    "page_data",
    "write_page",
]
