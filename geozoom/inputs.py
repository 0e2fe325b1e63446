"""What the user names → a list of rasters, with every problem at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

RASTER_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt")
"""What is read from a folder; a file of any other suffix can be named itself."""
SIDECARS = (".xml", ".ovr", ".msk", ".tfw", ".j2w", ".prj", ".txt", ".md", ".json", ".csv")
"""Suffixes of what lies beside rasters without being one."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a list of paths came to."""

    rasters: tuple[str, ...]
    """Rasters without repetitions, in the order given, folders by name."""
    ignored: tuple[str, ...]
    """Entries of folders that are not rasters by their suffix, sidecars apart."""
    problems: tuple[str, ...]
    """A sentence for every path that does not exist or holds no raster."""


def is_of_macos(path: PurePath) -> bool:
    """Tell whether a file is what macOS keeps of another one where a file system or zip cannot hold it."""
    return path.name.startswith("._") or "__MACOSX" in path.parts


def find_rasters(inputs: Iterable[str]) -> Found:
    """Expand files, folders, `/vsi…` paths and URLs."""
    rasters: dict[str, None] = {}
    ignored: list[str] = []
    problems: list[str] = []
    for entry in inputs:
        if entry.startswith("/vsi") or "://" in entry:
            rasters[entry] = None
            continue
        try:
            path = Path(entry)
            if not entry or not path.exists():
                problems.append(f"{entry or '(an empty path)'}: no such file or folder; check the path")
            elif path.is_dir():
                files = sorted(file for file in path.iterdir() if not is_of_macos(file))
                inside = [file for file in files if file.suffix.lower() in RASTER_SUFFIXES]
                if not inside:
                    problems.append(
                        f"{path}: no rasters ({', '.join(RASTER_SUFFIXES)}) in this folder; name the folder "
                        "that holds them"
                    )
                rasters.update(dict.fromkeys(map(str, inside)))
                others = (file for file in files if file not in inside)
                ignored.extend(str(file) for file in others if file.suffix.lower() not in SIDECARS)
            else:
                rasters[str(path)] = None
        except OSError as error:
            problems.append(f"{entry[:80]}: cannot be looked at ({error.strerror}); check the path")
    return Found(rasters=tuple(rasters), ignored=tuple(ignored), problems=tuple(problems))
