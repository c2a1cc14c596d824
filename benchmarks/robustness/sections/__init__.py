"""One module for each kind of input. Each has a `SECTION`; `all_sections` collects them."""

from __future__ import annotations

import importlib
import pkgutil

from benchmarks.robustness.section import Section


def all_sections() -> dict[str, Section]:
    """By name, in alphabetical order."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return {module.SECTION.name: module.SECTION for module in modules}
