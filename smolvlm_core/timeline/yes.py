"""The probability of *yes*, or of a word such as a colour, from the log probabilities of an answer. Pure: does not know backends."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from smolvlm_core.backends.base import Reply
from smolvlm_core.prompt.generation import TokenLogprob

YES, NO = "yes", "no"
UNCLEAR = 0.05  # less than this on yes and no together is no answer to the question
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What an answer says.

    Attributes:
        word: the answer in one word; "" where it is unclear.
        probability: of *yes*, or of `word`, 0 to 1; None where it is unclear.
    """

    word: str = ""
    probability: float | None = None


NOTHING = Reading()


def read_yes(reply: Reply) -> Reading:
    """P(yes) = yes / (yes + no) of the first token that has letters. 0 or 1, by the word, where the backend gave no probabilities."""
    first = next((token for token in reply.logprobs if _WORD.search(token.text)), None)
    if first is None:
        found = _WORD.search(reply.text)
        word = found[0].lower() if found else ""
        return Reading(word=word, probability=float(word == YES)) if word in (YES, NO) else NOTHING
    masses = _masses(first)
    yes, no = masses.get(YES, 0.0), masses.get(NO, 0.0)
    if yes + no < UNCLEAR:
        return NOTHING
    return Reading(word=YES if yes >= no else NO, probability=yes / (yes + no))


def read_word(reply: Reply, words: Mapping[str, str]) -> Reading:
    """The first word of the answer that is one of `words` (as it may be written → its plain form), and how likely it was there."""
    for found in _WORD.finditer(reply.text):
        if (word := words.get(found[0].lower())) is not None:
            token = _token_at(reply, found.start())
            return Reading(word=word, probability=1.0 if token is None else min(1.0, math.exp(token.logprob)))
    return NOTHING


def _token_at(reply: Reply, offset: int) -> TokenLogprob | None:
    """The token that has this character of the answer; None where there are no log probabilities."""
    end = 0
    skipped = sum(len(token.text) for token in reply.logprobs) - len(reply.text)  # white space before the answer
    for token in reply.logprobs:
        end += len(token.text)
        if end - max(0, skipped) > offset:
            return token
    return None


def _masses(token: TokenLogprob) -> dict[str, float]:
    """Word → probability, over the ways of writing it (" Yes", "yes", "YES,")."""
    likely = dict(token.top)
    likely.setdefault(token.text, token.logprob)
    masses: dict[str, float] = {}
    for text, logprob in likely.items():
        word = text.strip(" \t\r\n.,!\"'*▁Ġ").lower()
        masses[word] = masses.get(word, 0.0) + math.exp(logprob)
    return masses
