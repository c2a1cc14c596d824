"""The process that tries cases. It is expected to die now and then: the parent notices."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from benchmarks.robustness.section import Section
from smolvlm_core.errors import LensError


def run(section: Section, folder: Path, pipe: Connection) -> None:
    """Answer each case with (outcome, details, names of files left, ids of processes left), until the parent hangs up."""
    temporary = folder / "tmp"
    temporary.mkdir(parents=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    logging.disable()  # the ledger says what became of each case
    warnings.simplefilter("ignore")
    (folder / "section").mkdir()
    section.start(folder / "section")
    files, processes = _files(temporary), _processes()
    pipe.send("ready")
    with contextlib.suppress(EOFError):
        while True:
            outcome, details = _attempt(section, pipe.recv(), folder / "case")
            new = _files(temporary) - files
            pipe.send((outcome, details, sorted(new), sorted(_processes() - processes)))
            files |= new  # each leak is counted once
    section.stop()


def _attempt(section: Section, case: Any, folder: Path) -> tuple[str, str]:
    folder.mkdir()
    try:
        return section.attempt(case, folder), ""
    except LensError as error:
        return "refused", str(error)
    except Exception:
        return "crashed", traceback.format_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _processes() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}
