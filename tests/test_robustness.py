"""A fixed sample of each section of `benchmarks.robustness`: damaged and hostile input is used or refused in words."""

from __future__ import annotations

import pytest

from benchmarks.robustness import ledger
from benchmarks.robustness.sections import all_sections

SAMPLES: dict[str, int] = {"checkpoints": 15, "clips": 30, "headers": 50, "pictures": 100}  # where other than usual
USUAL_SAMPLE = 60


@pytest.mark.parametrize("section", all_sections().values(), ids=lambda section: section.name)
def test_a_sample_of_damaged_input_makes_no_fault(section: ledger.Section) -> None:
    done = ledger.run(section, SAMPLES.get(section.name, USUAL_SAMPLE))
    assert done.clean, (done.faults[:3], done.leaked_files, done.leaked_processes)
    assert done.outcomes.total() == SAMPLES.get(section.name, USUAL_SAMPLE)
