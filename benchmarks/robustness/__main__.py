"""Tries damaged and hostile input by the thousand, and prints a ledger: how many cases of each kind were used, refused or faults.

    python -m benchmarks.robustness                          (everything; an hour or more)
    python -m benchmarks.robustness pictures clips --count 200
    python -m benchmarks.robustness pictures --seed 3 --first 117 --count 1    (one case again)

A fault is an exception that is no error message, a process that dies, more than 30 s, or more than 3 GiB of memory. Files and
processes that a case leaves behind are counted too. The exit status is 1 where there was any.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.robustness import ledger
from benchmarks.robustness.sections import all_sections


def main() -> int:
    sections = all_sections()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(sections)}; all by default")
    parser.add_argument("--count", type=int, help="cases of each section; by default as many as a full run tries")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the cases that were faults")
    parser.add_argument("--out", type=Path, help="write the ledger as JSON")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(sections):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    ledgers = []
    for name in options.sections or sections:
        section = sections[name]
        count = options.count or section.full_count
        done = ledger.run(
            section, count, options.seed, first=options.first, keep=options.keep, report=_progress(name, count)
        )
        ledgers.append(done)
        print(json.dumps(done.as_row()), flush=True)
        for number, outcome, details in done.faults[:5]:
            print(f"  case {number}: {outcome}: {details.strip().splitlines()[-1] if details else ''}", flush=True)
        for number, left in [*done.leaked_files.items(), *done.leaked_processes.items()][:5]:
            print(f"  case {number} left {left}", flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps([one.as_row() for one in ledgers], indent=1) + "\n", "utf-8")
    return int(not all(one.clean for one in ledgers))


def _progress(name: str, count: int):  # type: ignore[no-untyped-def]
    def report(done: int) -> None:
        if sys.stderr.isatty() and done % 10 == 0:
            print(f"\r{name} {done}/{count}", end="\n" if done == count else "", file=sys.stderr, flush=True)

    return report


if __name__ == "__main__":
    sys.exit(main())
