"""What fMoW's JSON says: which boxes of an image are scenes, of what class, with how much context."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from geozoom.errors import first_line
from geozoom.sites import CONTEXT

_NAMES = """
airport airport_hangar airport_terminal amusement_park aquaculture archaeological_site barn border_checkpoint
burial_site car_dealership construction_site crop_field dam debris_or_rubble educational_institution
electric_substation factory_or_powerplant fire_station flooded_road fountain gas_station golf_course
ground_transportation_station helipad hospital impoverished_settlement interchange lake_or_pond lighthouse
military_facility multi-unit_residential nuclear_powerplant office_building oil_or_gas_facility park
parking_lot_or_garage place_of_worship police_station port prison race_track railway_bridge
recreational_facility road_bridge runway shipyard shopping_mall single-unit_residential smokestack solar_farm
space_facility stadium storage_tank surface_mine swimming_pool toll_booth tower tunnel_opening waste_disposal
water_treatment_facility wind_farm zoo
"""
CLASSES = tuple(_NAMES.split())
"""The 62 classes in the official order."""
FALSE_DETECTION = "false_detection"
"""What the challenge added to the boxes of test: nothing of the 62."""
Content: TypeAlias = dict[str, Any] | str
"""What a JSON holds, or why it cannot be read."""
_AT_ONCE = 1024
SMALLEST_PX = 2
"""Boxes with a side up to this are slips of the annotators."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One image to be looked into."""

    file: str
    """The image, relative to the dataset's root."""
    category: str
    """Its class by folder or label; a box has the last word."""
    place: str
    """Its sequence: scenes of it show one place, at several times."""
    truth: Path
    """The JSON that says what it shows."""
    boxes: Path | None = None
    """The JSON with the boxes, where the one of the ground truth has IDs only."""
    twin: str = ""
    """CLASS/SEQUENCE/STEM under which fMoW-Sentinel has the image."""


@dataclass(kw_only=True)
class Boxes:
    """The scenes of a split, in columns that grow."""

    files: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    """Class of each box, "" where nothing says so."""
    ids: list[int] = field(default_factory=list)
    """ID of each box in its image."""
    gsd_m: list[float] = field(default_factory=list)
    """Ground sample distance of the image in metres, NaN where the JSON does not say."""
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    """Left, top, width and height in pixels, as annotated."""
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """Width and height of the image, 0 where the JSON does not say."""
    places: list[str] = field(default_factory=list)
    twins: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason → boxes that are no scenes."""
    unreadable: list[str] = field(default_factory=list)
    """Files and why they cannot be read."""
    empty: list[str] = field(default_factory=list)
    """Images whose JSON has no box."""
    false_detections: bool = False
    """Keep the challenge's boxes of nothing."""

    def add(self, image: Listed, content: Content) -> None:
        """Add the scenes of an image, given what its JSON holds."""
        if isinstance(content, str):
            self.unreadable.append(content)
            return
        if not content["bounding_boxes"]:
            self.empty.append(image.file)
        for box in content["bounding_boxes"]:
            self._add(image, content, box)

    def _add(self, image: Listed, content: dict[str, Any], box: dict[str, Any]) -> None:
        category = str(box["category"])
        left, top, width, height = (float(value) for value in box["box"])
        if int(box.get("ID", 0)) == -1:
            self.left_out["of ID -1"] += 1
        elif category == FALSE_DETECTION and not self.false_detections:
            self.left_out["of class false_detection"] += 1
        elif min(width, height) <= SMALLEST_PX:
            self.left_out[f"of {SMALLEST_PX} px or less"] += 1
        else:
            self.files.append(image.file)
            self.classes.append(category)
            self.ids.append(int(box.get("ID", 0)))
            self.gsd_m.append(_number(content.get("gsd")))
            self.boxes.append((left, top, width, height))
            self.sizes.append((content.get("img_width", 0), content.get("img_height", 0)))
            self.places.append(image.place)
            self.twins.append(image.twin)


def look_into(
    images: list[Listed], read: Callable[[Listed], Content], *, false_detections: bool = False
) -> Boxes:
    """Return the scenes of all images, their JSON read some at once."""
    boxes = Boxes(false_detections=false_detections)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(images), _AT_ONCE):
            part = images[start : start + _AT_ONCE]
            for image, content in zip(part, pool.map(read, part), strict=True):
                boxes.add(image, content)
    return boxes


def read_boxes(image: Listed, *, labelled: bool = True) -> Content:
    """Return what the JSON of an image holds, "bounding_boxes" always a list of complete boxes; or what is wrong.

    Args:
        image: The image.
        labelled: A box without a class is wrong; otherwise its class is "".
    """
    file = image.truth
    try:
        content = _read(file)
        if image.boxes is not None:
            file = image.boxes
            where = {int(box["ID"]): box["box"] for box in _read(file)["bounding_boxes"]}
            for box in content["bounding_boxes"]:
                box.setdefault("box", where.get(int(box["ID"]), [0, 0, 0, 0]))
        for box in content["bounding_boxes"]:
            _, _, _, _ = (float(value) for value in box["box"])
            int(box.get("ID", 0))
            if not labelled:
                box.setdefault("category", "")
            str(box["category"])
        for side in ("img_width", "img_height"):
            content[side] = int(content.get(side) or 0)
    except OSError as error:
        return f"{file} ({error.strerror})"
    except KeyError as error:
        return f"{file} (not fMoW's JSON: no {error} in it)"
    except (ValueError, TypeError, AttributeError) as error:
        return f"{file} (not fMoW's JSON: {first_line(error)})"
    return content


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(file.read_bytes())
    boxes = content["bounding_boxes"]
    content["bounding_boxes"] = [boxes] if isinstance(boxes, dict) else list(boxes)
    return content


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and value > 0 else math.nan


def with_context(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return left, top, right, bottom (N, 4) of boxes (N, 4: left, top, width, height) with their context.

    The narrower a box, the larger the share of each side that is added: half of it on each end. Clipping to the
    image is left to the reader, which knows the image's size.
    """
    corner, side = boxes[:, :2], boxes[:, 2:]
    below, share = np.array(CONTEXT).T
    ratio = side.min(axis=1) / side.max(axis=1)
    pad = side * share[np.searchsorted(below[:-1], ratio, side="right")][:, None] / 2
    return np.concatenate([corner - pad, corner + side + pad], axis=1)
