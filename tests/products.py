"""Small products with the real layouts of their providers, for tests."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

ORIGIN = Affine(10, 0, 399960, 0, -10, 5900040)
_L2A = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
  <n1:General_Info><Product_Info>
    <PRODUCT_START_TIME>2023-06-08T10:10:31.024Z</PRODUCT_START_TIME>
    <PROCESSING_BASELINE>05.09</PROCESSING_BASELINE>
    <Product_Organisation><Granule_List><Granule>{files}</Granule></Granule_List></Product_Organisation>
  </Product_Info>
  <Product_Image_Characteristics>
    <QUANTIFICATION_VALUES_LIST>
      <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
      <AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>
    </QUANTIFICATION_VALUES_LIST>
    <BOA_ADD_OFFSET_VALUES_LIST>{offsets}</BOA_ADD_OFFSET_VALUES_LIST>
  </Product_Image_Characteristics></n1:General_Info>
</n1:Level-2A_User_Product>
"""
_L1C = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-1C_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-1C.xsd">
  <n1:General_Info><Product_Info>
    <PRODUCT_START_TIME>2020-06-08T10:10:31.024Z</PRODUCT_START_TIME>
    <PROCESSING_BASELINE>02.09</PROCESSING_BASELINE>
    <Product_Organisation><Granule_List><Granule>{files}</Granule></Granule_List></Product_Organisation>
  </Product_Info>
  <Product_Image_Characteristics>
    <QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>
  </Product_Image_Characteristics></n1:General_Info>
</n1:Level-1C_User_Product>
"""


def write_band(path: Path, pixels: NDArray[Any], transform: Affine = ORIGIN, **profile: Any) -> Path:
    """Write one band, as JPEG 2000 or GeoTIFF by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    driver: dict[str, Any] = {"driver": "GTiff"}
    if path.suffix == ".jp2":
        driver = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
    settings = driver | {
        "dtype": str(pixels.dtype),
        "count": 1,
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "crs": "EPSG:32633",
        "transform": transform,
    }
    with rasterio.open(path, "w", **(settings | profile)) as out:
        out.write(pixels, 1)
    return path


def bands(side: int = 48, seed: int = 0) -> dict[str, NDArray[np.uint16]]:
    """Return B02, B03 and B04 with different numbers, none of them 0."""
    rng = np.random.default_rng(seed)
    return {
        band: rng.integers(base, base + 500, (side, side)).astype(np.uint16)
        for band, base in (("B02", 1300), ("B03", 1600), ("B04", 1900))
    }


def write_safe(
    folder: Path, level: str = "L2A", side: int = 48, scl: NDArray[np.uint8] | None = None
) -> Path:
    """Write a SAFE folder and return it; `scl` is its classification at 20 m."""
    name = f"S2A_MSI{level}_20230608T101031_N0509_R022_T33UUU_20230608T150000"
    safe = folder / f"{name}.SAFE"
    inside = f"GRANULE/{level}_T33UUU_A041571_20230608T101026/IMG_DATA"
    files = []
    for band, pixels in bands(side).items():
        image = f"{inside}/R10m/T33UUU_20230608T101031_{band}_10m"
        if level == "L1C":
            image = f"{inside}/T33UUU_20230608T101031_{band}"
        write_band(safe / f"{image}.jp2", pixels)
        files.append(image)
    if scl is not None:
        image = f"{inside}/R20m/T33UUU_20230608T101031_SCL_20m"
        write_band(safe / f"{image}.jp2", scl, ORIGIN @ Affine.scale(2))
        files.append(image)
    listed = "".join(f"<IMAGE_FILE>{image}</IMAGE_FILE>" for image in files)
    offsets = "".join(f'<BOA_ADD_OFFSET band_id="{band}">-1000</BOA_ADD_OFFSET>' for band in range(13))
    text = (_L2A if level == "L2A" else _L1C).format(files=listed, offsets=offsets)
    (safe / f"MTD_MSI{level}.xml").write_text(text, encoding="utf-8")
    return safe


def zip_folder(folder: Path) -> Path:
    """Zip a folder beside itself, with its own name inside, as ESA does."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as out:
        for file in sorted(folder.rglob("*")):
            out.write(file, file.relative_to(folder.parent))
    return archive


LANDSAT = "LC08_L2SP_193023_20230608_20230614_02_T1"


def write_landsat(folder: Path, quality: NDArray[np.uint16] | None = None, *, mtl: bool = True) -> Path:
    """Write a Landsat 8 level 2 scene and return its folder."""
    grid = ORIGIN @ Affine.scale(3)
    for number, (_, pixels) in zip((2, 3, 4), bands().items(), strict=True):
        write_band(folder / f"{LANDSAT}_SR_B{number}.TIF", (pixels + 7000).astype(np.uint16), grid, nodata=0)
    write_band(folder / f"{LANDSAT}_SR_B5.TIF", np.full((48, 48), 9000, np.uint16), grid, nodata=0)
    write_band(folder / f"{LANDSAT}_ST_B10.TIF", np.full((48, 48), 9000, np.uint16), grid, nodata=0)
    if quality is not None:
        write_band(folder / f"{LANDSAT}_QA_PIXEL.TIF", quality, grid)
    if mtl:
        (folder / f"{LANDSAT}_MTL.txt").write_text(
            """GROUP = LANDSAT_METADATA_FILE
  GROUP = IMAGE_ATTRIBUTES
    DATE_ACQUIRED = 2023-06-08
  END_GROUP = IMAGE_ATTRIBUTES
  GROUP = LEVEL2_SURFACE_REFLECTANCE_PARAMETERS
    REFLECTANCE_MULT_BAND_2 = 2.75e-05
    REFLECTANCE_MULT_BAND_3 = 2.75e-05
    REFLECTANCE_MULT_BAND_4 = 2.75e-05
    REFLECTANCE_ADD_BAND_2 = -0.2
    REFLECTANCE_ADD_BAND_3 = -0.2
    REFLECTANCE_ADD_BAND_4 = -0.2
  END_GROUP = LEVEL2_SURFACE_REFLECTANCE_PARAMETERS
  GROUP = LEVEL1_RADIOMETRIC_RESCALING
    REFLECTANCE_MULT_BAND_4 = 2.0000E-05
    REFLECTANCE_ADD_BAND_4 = -0.100000
  END_GROUP = LEVEL1_RADIOMETRIC_RESCALING
END_GROUP = LANDSAT_METADATA_FILE
END
""",
            encoding="utf-8",
        )
    return folder
