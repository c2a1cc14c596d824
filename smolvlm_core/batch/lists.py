"""Lists of files: CSV and JSON Lines, with a prompt for each row where it has one. Does not know what the files are."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from smolvlm_core.errors import LensError
from smolvlm_core.reading import check_file
from smolvlm_core.text import valid_text

LIST_EXTENSIONS = ("csv", "tsv", "jsonl", "ndjson")
PATH_COLUMNS = ("path", "image", "video", "file")
PROMPT_COLUMN = "prompt"
DELIMITERS = (",", ";", "\t")
MAX_LINE_CHARACTERS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Row:
    """`path` as it is written, relative to the list's folder. `prompt`: "" where the row has none. `line` counts from 1."""

    path: str
    prompt: str
    line: int


def read_list(path: Path) -> Iterator[Row]:
    """The rows of a list, lazily.

    Raises:
        LensError: it cannot be read, lacks a column with paths, or a row is damaged; the message names the line.
    """
    read = _csv_rows if path.suffix.lower() in (".csv", ".tsv") else _json_rows
    line = 0
    check_file(path, LensError)
    try:
        for line, row in read(path):
            yield _row(path, line, row)
    except OSError as error:
        raise LensError(f"{path} cannot be read: {error.strerror or error}.", "Check its permissions.") from error
    except UnicodeDecodeError as error:
        raise LensError(f"{path} is not UTF-8 text, after line {line}.", "Save it as UTF-8.") from error


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:  # -sig: as Excel writes it
        header = file.readline(MAX_LINE_CHARACTERS)
        file.seek(0)
        rows = csv.DictReader(_lines(path, file), delimiter=max(DELIMITERS, key=header.count), strict=True)
        rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
        if not set(PATH_COLUMNS) & set(rows.fieldnames):
            raise LensError(f"{path} has no column with paths.", f"Call it one of: {', '.join(PATH_COLUMNS)}.")
        try:
            for row in rows:
                if None in row:
                    raise _damaged(path, rows.line_num, "has more cells than the header", "Put quotes around commas.")
                yield rows.line_num, row
        except csv.Error as error:
            raise _damaged(path, rows.line_num, f"is not CSV: {error}", "Check its quotes.") from error


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(_lines(path, file), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _damaged(path, number, f"is not JSON: {error}", "Write one JSON object on each line.") from error
            if not isinstance(row, dict):
                raise _damaged(path, number, "is not a JSON object", 'Write {"path": "…", "prompt": "…"}.')
            yield number, row


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """A file without line ends would come as one line of its whole size."""
    for number in itertools.count(1):
        line = file.readline(MAX_LINE_CHARACTERS + 1)
        if len(line) > MAX_LINE_CHARACTERS:
            problem = f"has more than {MAX_LINE_CHARACTERS:,} characters"
            raise _damaged(path, number, problem, "Check that this is a list, with one row on each line.")
        if not line:
            return
        yield line


def _row(path: Path, line: int, row: dict[str, Any]) -> Row:
    file = next((value for name in PATH_COLUMNS if (value := row.get(name))), None)
    prompt = row.get(PROMPT_COLUMN) or ""
    if not isinstance(file, str) or not file.strip() or "\0" in file:
        raise _damaged(path, line, "has no path", f"Fill one of: {', '.join(PATH_COLUMNS)}.")
    if not isinstance(prompt, str):
        raise _damaged(path, line, "has a prompt that is not text", "Put it in quotes.")
    return Row(path=file.strip(), prompt=valid_text(prompt).strip(), line=line)


def _damaged(path: Path, line: int, problem: str, hint: str) -> LensError:
    return LensError(f"Line {line} of {path} {problem}.", hint)
