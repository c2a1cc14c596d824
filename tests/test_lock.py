"""requirements.lock: what the README may install in place of requirements.txt."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.lock import OF_TORCH, locked_lines

ROOT = Path(__file__).resolve().parent.parent
LOCK = (ROOT / "requirements.lock").read_text("utf-8")


def requirements(text: str) -> list[Requirement]:
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


LOCKED = {canonicalize_name(found.name): found for found in requirements(LOCK)}


def version(found: Requirement) -> str:
    (only,) = found.specifier
    assert only.operator == "=="
    return only.version


def test_the_lock_satisfies_the_requirements() -> None:
    wanted = requirements((ROOT / "requirements.txt").read_text("utf-8"))
    assert len(wanted) > 20
    wrong = [
        str(one)
        for one in wanted
        if (found := LOCKED.get(canonicalize_name(one.name))) is None or version(found) not in one.specifier
    ]
    assert wrong == [], "run python scripts/lock.py"


def test_what_the_packages_need_is_locked_too() -> None:
    """Of this system. What is needed with an extra is looked up with the package that asks for it."""
    missing = set()
    for name, found in LOCKED.items():
        if found.marker is not None and not found.marker.evaluate():
            continue
        try:
            needed = [Requirement(one) for one in requires(name) or ()]
        except PackageNotFoundError:
            continue  # not installed here
        for one in needed:
            if (one.marker is None or one.marker.evaluate({"extra": ""})) and not OF_TORCH.match(f"{one.name}=="):
                key = canonicalize_name(one.name)
                if key not in LOCKED or version(LOCKED[key]) not in one.specifier:
                    missing.add(f"{name} needs {one}")
    assert missing == set()


def test_the_lock_names_no_registry_and_no_build_of_one_machine() -> None:
    assert "://" not in LOCK and "+" not in LOCK and "--" not in LOCK
    assert locked_lines(
        "torch==2.13.0 ; sys_platform == 'darwin'\ntorch==2.13.0+cpu ; x\nnvidia-nccl-cu13==2 ; x\n    # via"
    ) == ["torch==2.13.0"]
