"""Reads a trace of requests: the CSV of Alibaba's GenTD26 (`lora_request_trace.csv`), or any file with its columns.

Of a public trace each row that is wrong is worth knowing: a file is refused with the line that is, never guessed at.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from orchestrator.errors import InvalidRequest
from orchestrator.simulator.fleet.workload import Row

COLUMNS = (
    "gmt_create", "predict_type", "predict_status", "exec_time_seconds", "groupId", "num_images_per_prompt",
    "num_inference_steps", "checkpoint_model_version_id", "num_lora",
)  # fmt: skip


def read(path: Path) -> list[Row]:
    """The requests that succeeded and name a model; the others say nothing of what a fleet has to do.

    Raises InvalidRequest for a file that is none, OSError for one that cannot be read.
    """
    with path.open(newline="", encoding="utf-8") as lines:
        try:
            return parse(lines, str(path))
        except UnicodeDecodeError as error:
            raise InvalidRequest("bad_trace", f"{path} is not a CSV in UTF-8: {error}") from error


def parse(lines: Iterable[str], name: str) -> list[Row]:
    """Of the lines of a CSV that is called `name` in errors."""
    reader = csv.DictReader(lines)
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise InvalidRequest("bad_trace", f"{name} has no column {', '.join(missing)}; its first line must name them")
    rows: list[Row] = []
    for record in reader:
        try:
            if None in record.values():
                raise ValueError(f"has fewer fields than the {len(reader.fieldnames or ())} columns")
            if record["predict_status"] == "SUCCEED" and record["checkpoint_model_version_id"]:
                rows.append(_row(record))
        except (ValueError, TypeError) as error:
            raise InvalidRequest("bad_trace", f"{name}, line {reader.line_num}: {error}") from error
    if not rows:
        raise InvalidRequest("empty_trace", f"{name} has no request that succeeded and names a model")
    return rows


def _row(record: Mapping[str, str]) -> Row:
    created = datetime.fromisoformat(record["gmt_create"])
    exec_s = _number(record, "exec_time_seconds")
    if not 0 < exec_s < float("inf"):
        raise ValueError(f"exec_time_seconds is {record['exec_time_seconds']}, and should be a time above 0")
    return Row(
        day=created.date().isoformat(),
        second=created.hour * 3600.0 + created.minute * 60 + created.second,
        tenant=record["groupId"],
        kind=record["predict_type"],
        model=record["checkpoint_model_version_id"],
        steps=int(_number(record, "num_inference_steps")),
        images=int(_number(record, "num_images_per_prompt")),
        loras=int(_number(record, "num_lora")),
        exec_s=exec_s,
    )


def _number(record: Mapping[str, str], column: str) -> float:
    try:
        return float(record[column])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{column} is {record[column]!r}, and should be a number") from error
