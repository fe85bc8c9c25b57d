"""ComfyUI's three directories, and its rules for the names in them: annotations, counters, collisions, containment."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import NamedTuple

ANNOTATION = re.compile(r"(.*?) ?\[(input|output|temp)\]$", re.DOTALL)
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})


class SavePath(NamedTuple):
    """Where a node that saves puts its next file."""

    folder: Path
    name: str
    counter: int
    subfolder: str


class Files:
    """input/, output/ and temp/ under one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.by_type = {kind: self.root / kind for kind in ("input", "output", "temp")}
        for folder in self.by_type.values():
            folder.mkdir(parents=True, exist_ok=True)

    def locate(self, name: str, default: str = "input") -> Path:
        """The path of a name such as `a/b.png` or `b.png [output]`. Raises ValueError for one that leads outside."""
        annotated = ANNOTATION.match(name)
        base = self.by_type[annotated[2] if annotated else default]
        path = base / (annotated[1] if annotated else name)
        if not contains(base, path):
            raise ValueError(f"Invalid file path: {name!r}")
        return path

    def exists(self, name: str) -> bool:
        try:
            return self.locate(name).exists()
        except ValueError:
            return False

    def input_images(self) -> list[str]:
        """What LoadImage offers: the images at the top of input/."""
        return sorted(
            entry.name
            for entry in os.scandir(self.by_type["input"])
            if entry.is_file() and Path(entry.name).suffix.lower() in IMAGE_SUFFIXES
        )

    def save_path(self, prefix: str, kind: str, width: int = 0, height: int = 0) -> SavePath:
        """The next free counter for a filename_prefix; raises Exception, as ComfyUI does, if it leads outside."""
        base = self.by_type[kind]
        relative = Path(os.path.normpath(_fill(prefix, width, height) if "%" in prefix else prefix))
        subfolder = "" if relative.parent == Path() else str(relative.parent)
        folder = base / subfolder
        if not contains(base, folder):
            raise Exception(  # noqa: TRY002 - the class is part of the message that clients see
                "**** ERROR: Saving image outside the output folder is not allowed."
                f"\n full_output_folder: {os.path.normpath(folder)}\n         output_dir: {base}"
            )
        return SavePath(folder, relative.name, _next_counter(folder, relative.name), subfolder)


def contains(base: Path, path: Path) -> bool:
    """Whether path, after every .. and symlink, lies in base."""
    try:
        return os.path.commonpath((base, os.path.realpath(path))) == str(base)
    except ValueError:  # a NUL in the name
        return False


def _next_counter(folder: Path, name: str) -> int:
    """One more than the highest NAME_<digits>_ in the folder, which is made if missing."""
    try:
        entries = [entry.name for entry in os.scandir(folder)]
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        return 1
    start = f"{name}_"
    numbers = (entry[len(start) :].split(".")[0].split("_")[0] for entry in entries if entry.startswith(start))
    return max((int(number) for number in numbers if number.isdecimal()), default=0) + 1


def _fill(prefix: str, width: int, height: int) -> str:
    now = time.localtime()
    values = {
        "width": str(width),
        "height": str(height),
        "year": str(now.tm_year),
        "month": f"{now.tm_mon:02}",
        "day": f"{now.tm_mday:02}",
        "hour": f"{now.tm_hour:02}",
        "minute": f"{now.tm_min:02}",
        "second": f"{now.tm_sec:02}",
    }
    for name, value in values.items():
        prefix = prefix.replace(f"%{name}%", value)
    return prefix
