"""Logbook: what a ComfyUI says, in a file that cannot grow for ever, and the lines of it that explain an end.

ComfyUI writes to the file itself, so that it says on when its agent is killed. Rotation therefore copies and truncates.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path
from typing import BinaryIO

log = logging.getLogger(__name__)

MAX_BYTES = 16 << 20
KEPT = 3  # older files: .1 is the youngest
_TAIL_BYTES = 64 << 10
_BOOT_BYTES = 4 << 20
_LINE_MAX, _TAIL_MAX = 200, 700  # characters

_MARK = b"comfyfleet starts "
_FAILED = re.compile(r"(?:\(IMPORT FAILED\): |IMPORT FAILED: )(.+)$", re.MULTILINE)
_REASON = re.compile(r"^.*Cannot import (\S.*?) module for custom nodes: (.+)$", re.MULTILINE)
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_PROGRESS_BAR = re.compile(r"\d+%\|")


class Logbook:
    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, title: str) -> BinaryIO:
        """The file, for a process that is about to start."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("ab", buffering=0)
        file.write(_MARK + title.encode() + b"\n")
        return file

    def rotate(self) -> None:
        """Moves what there is out of the way, once it is much."""
        if not self.path.exists() or self.path.stat().st_size < MAX_BYTES:
            return
        for number in range(KEPT - 1, 0, -1):
            older = self._older(number)
            if older.exists():
                older.replace(self._older(number + 1))
        try:
            shutil.copyfile(self.path, self._older(1))
        except OSError as error:  # a full disk, which is no reason to let it grow
            log.warning("what %s had is not kept: %s", self.path, error.strerror)
            self._older(1).unlink(missing_ok=True)
        os.truncate(self.path, 0)

    def last_lines(self, count: int = 4) -> str:
        """What it said last, since it was started, for an error message."""
        lines = [line for line in self._since_start(_TAIL_BYTES).splitlines() if line.strip()]
        told = [line.strip()[:_LINE_MAX] for line in lines if not _PROGRESS_BAR.search(line)]
        return " / ".join(told[-count:])[-_TAIL_MAX:]

    def import_failures(self) -> list[str]:
        """The node packs that could not be imported, each with the reason if it was told."""
        said = self._since_start(_BOOT_BYTES)
        reasons = {match[1]: match[2].strip() for match in _REASON.finditer(said)}
        paths = dict.fromkeys(match[1].strip() for match in _FAILED.finditer(said))
        return [f"{Path(path).name} ({reasons[path]})" if path in reasons else Path(path).name for path in paths]

    def _since_start(self, most: int) -> str:
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, self.path.stat().st_size - most))
                tail = file.read()
        except FileNotFoundError:
            return ""
        mark = tail.rfind(_MARK)
        if mark >= 0:
            tail = tail[mark:].partition(b"\n")[2]
        return _COLOR.sub("", tail.decode(errors="replace")).replace("\r", "\n")

    def _older(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
