"""What a vendor sent → a list of rasters: files, folders within folders, and zips, which are read as they are."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Literal

from geozoom.errors import DeliveryError
from geozoom.inputs import RASTER_SUFFIXES, is_of_macos

HR_SUFFIXES = (*RASTER_SUFFIXES, ".ntf", ".nitf", ".nsf")
"""What is read from a folder or a zip; a file of any other suffix can be named itself."""
UNREAD_SUFFIXES = frozenset(
    (
        ".img",
        ".ecw",
        ".sid",
        ".pix",
        ".hdf",
        ".h5",
        ".nc",
        ".bil",
        ".bip",
        ".bsq",
        ".dat",
        ".png",
        ".tar",
        ".tgz",
        ".gz",
        ".7z",
        ".rar",
        ".zip",
    )
)
"""Suffixes of what may hold an image and is not read, a zip where it lies in another, so that it is named."""
_NO_IMAGE = re.compile(
    r"(.*[_.-])?(udm2?|pixel_mask|cloud_mask|browse|thumb(nail)?|quicklook|preview)([_.-].*)?", re.IGNORECASE
)
"""Names, without suffix, of what vendors put beside an image: masks and small pictures of it."""
ZIPPED = re.compile(r"(/vsizip/\{(.+?\.zip)\}/)(.+)", re.IGNORECASE)
"""A path of GDAL's into a zip: what leads to its members, the zip, and the member."""
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ReceivedFile:
    """One raster that was sent."""

    path: str
    """What GDAL opens: an absolute path, or one into a zip."""
    name: str
    """As people know it."""
    size: int
    """Bytes, unpacked."""
    modified_ns: int
    """When the file, or the zip that holds it, was last written, in nanoseconds since 1970."""
    archive: Path | None = None
    """The zip that holds it."""
    member: str | None = None
    """Its name in the zip."""
    sources: tuple[str, ...] = ()
    """What a VRT is made of, as GDAL opens it."""

    @property
    def file_name(self) -> str:
        """Its name without folders."""
        return PurePosixPath(self.member or self.path).name

    def parts(self) -> list[ReceivedFile]:
        """Return the files that a VRT is made of."""
        inside = "" if self.archive is None else f"/vsizip/{{{self.archive.resolve()}}}/"
        return [
            replace(
                self,
                path=path,
                name=path,
                member=path.removeprefix(inside) if self.member else None,
                sources=(),
            )
            for path in self.sources
        ]

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Open the file's own bytes.

        Raises:
            DeliveryError: They cannot be read.
        """
        try:
            if self.archive is None:
                with Path(self.path).open("rb") as file:
                    yield file
            else:
                with zipfile.ZipFile(self.archive) as archive, archive.open(self.member or "") as file:
                    yield file
        except (
            OSError,
            EOFError,
            RuntimeError,
            NotImplementedError,
            zlib.error,
            zipfile.BadZipFile,
        ) as error:
            raise DeliveryError(f"{self.name}: cannot be read ({error}); copy it again") from error

    def beside(self) -> list[bytes]:
        """Return the content of the JSON files in the same folder that begin as this file's name does."""
        stem = PurePosixPath(self.file_name).stem
        if self.archive is None:
            here = sorted(Path(self.path).parent.glob("*.json"))
            return [file.read_bytes() for file in here if is_about(file.name, stem)]
        folder = PurePosixPath(self.member or "").parent
        with zipfile.ZipFile(self.archive) as archive:
            names = [name for name in sorted(archive.namelist()) if PurePosixPath(name).parent == folder]
            return [
                archive.read(name)
                for name in names
                if name.lower().endswith(".json") and is_about(PurePosixPath(name).name, stem)
            ]


@dataclass(frozen=True, kw_only=True)
class ReceivedFiles:
    """What a list of paths came to."""

    files: tuple[ReceivedFile, ...]
    """Without repetitions, by path."""
    ignored: tuple[str, ...]
    """What may hold an image and was not read: masks, small pictures, other formats and archives, linked folders."""
    problems: tuple[str, ...]
    """A sentence for every path that cannot be used."""


def find_files(inputs: Iterable[str]) -> ReceivedFiles:
    """Find the rasters in files, folders, the folders within them, and zips."""
    files: dict[str, ReceivedFile] = {}
    ignored: list[str] = []
    problems: list[str] = []
    for entry in inputs:
        try:
            found = _look_at(entry)
        except DeliveryError as error:
            problems += str(error).splitlines()
            continue
        except OSError as error:
            problems.append(f"{entry[:80]}: cannot be looked at ({error.strerror}); check the path")
            continue
        files.update((file.path, file) for file in found.files)
        problems += found.problems
        ignored += found.ignored
    return ReceivedFiles(
        files=tuple(files[path] for path in sorted(files)),
        ignored=tuple(ignored),
        problems=tuple(problems),
    )


def sha256(file: ReceivedFile) -> str:
    """Return the checksum of a file's bytes, followed by those of what it is made of.

    Raises:
        DeliveryError: They cannot be read.
    """
    digest = hashlib.sha256()
    for part in (file, *file.parts()):
        with part.opened() as source:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _look_at(entry: str) -> ReceivedFiles:
    if entry.startswith("/vsi") or "://" in entry:
        raise DeliveryError(
            f"{entry}: is no local file; download it first, since what was delivered is told by its bytes"
        )
    path = Path(entry)
    if not entry or not path.exists():
        raise DeliveryError(f"{entry or '(an empty path)'}: no such file or folder; check the path")
    if path.is_dir():
        return _in_folder(path)
    if path.suffix.lower() == ".zip":
        return _zipped(path)
    return ReceivedFiles(files=(_plain(path),), ignored=(), problems=())


def _in_folder(path: Path) -> ReceivedFiles:
    found: list[ReceivedFile] = []
    others: list[str] = []
    problems: list[str] = []
    for file in sorted(each for each in path.rglob("*") if not is_of_macos(each)):
        kind = _kind(file)
        if kind == "zip":
            try:
                zipped = _zipped(file)
            except DeliveryError as error:
                problems.append(str(error))
            else:
                found += zipped.files
                others += zipped.ignored
        elif kind == "image":
            found.append(_plain(file))
        elif kind == "unread":
            others.append(str(file))
        elif kind == "lost":
            problems.append(f"{file}: is no file, or a link to what is not there; copy the file itself")
    if not found and not problems:
        raise DeliveryError(
            f"{path}: no rasters ({', '.join(HR_SUFFIXES)}) in this folder or those in it{_besides(others)}; name "
            "what holds them"
        )
    return ReceivedFiles(files=tuple(found), ignored=tuple(others), problems=tuple(problems))


def _kind(path: Path) -> Literal["zip", "image", "unread", "lost"] | None:
    """Return what an entry of a folder is to a delivery; None of what it has nothing to do with."""
    if path.is_dir():
        return "unread" if path.is_symlink() else None  # it is not gone into, as it may lead back here
    if not _may_hold_one(path):
        return None
    if not path.is_file():
        return "lost"
    if path.suffix.lower() == ".zip":
        return "zip"
    return "image" if _is_image(path) else "unread"


def _is_image(path: PurePath) -> bool:
    return path.suffix.lower() in HR_SUFFIXES and not _NO_IMAGE.fullmatch(path.stem)


def _may_hold_one(path: PurePath) -> bool:
    """Tell whether a file may hold an image, read or not."""
    return path.suffix.lower() in (*HR_SUFFIXES, *UNREAD_SUFFIXES)


def _besides(others: list[str]) -> str:
    """Say what there is where no raster is."""
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return f", but {others[0]}{more}, which is not read" if others else ""


def _plain(path: Path) -> ReceivedFile:
    facts = path.stat()
    return ReceivedFile(
        path=str(path.resolve()), name=str(path), size=facts.st_size, modified_ns=facts.st_mtime_ns
    )


def _zipped(path: Path) -> ReceivedFiles:
    """Return the rasters in a zip, and what in it may hold others.

    Raises:
        DeliveryError: It is none, is encrypted, holds no raster, or a path that climbs out of it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [
                member
                for member in archive.infolist()
                if not member.is_dir() and not is_of_macos(PurePosixPath(member.filename))
            ]
    except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DeliveryError(f"{path}: cannot be read as a zip ({error}); copy it again") from error
    names = [member.filename for member in members]
    climbing = [name for name in names if climbs(name)]
    if climbing:
        raise DeliveryError(
            f"{path}: holds {climbing[0]!r}, a path that climbs out of the zip; ask for the delivery again, and "
            "do not unpack this one"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DeliveryError(f"{path}: holds two files called {twice!r}; ask for the delivery again")
    inside = [member for member in members if _is_image(PurePosixPath(member.filename))]
    others = [
        f"{path}/{member.filename}"
        for member in members
        if not _is_image(PurePosixPath(member.filename)) and _may_hold_one(PurePosixPath(member.filename))
    ]
    if not inside:
        raise DeliveryError(
            f"{path}: a zip without rasters ({', '.join(HR_SUFFIXES)}){_besides(others)}; name what holds them"
        )
    if any(member.flag_bits & 1 for member in inside):
        raise DeliveryError(f"{path}: is encrypted; unpack it and name the folder")
    modified = path.stat().st_mtime_ns
    files = [
        ReceivedFile(
            path=f"/vsizip/{{{path.resolve()}}}/{member.filename}",
            name=f"{path}/{member.filename}",
            size=member.file_size,
            modified_ns=modified,
            archive=path,
            member=member.filename,
        )
        for member in inside
    ]
    return ReceivedFiles(files=tuple(files), ignored=tuple(others), problems=())


def climbs(name: str) -> bool:
    """Tell whether a name in a zip leads out of the folder that the zip is unpacked into."""
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or name[:1] in ("/", "\\") or parts[0].endswith(":")


def is_about(name: str, stem: str) -> bool:
    """Tell whether a JSON file is about the image: `a.json` or `a_metadata.json` about `a.tif` or `a_SR_clip.tif`."""
    head = re.sub(r"[_.-]?metadata$", "", PurePosixPath(name).stem, flags=re.IGNORECASE)
    return bool(head) and re.fullmatch(re.escape(head) + r"([_.-].*)?", stem) is not None
