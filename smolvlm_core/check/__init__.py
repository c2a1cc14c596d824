"""Does a backend see? Questions with known answers, drawn anew each time, and a verdict with a stated error rate."""

from smolvlm_core.check.run import CONDITIONS, Asked, Verdict, check

__all__ = ["CONDITIONS", "Asked", "Verdict", "check"]
