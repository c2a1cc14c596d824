"""What a statement claims, as questions that a model can be asked about frames: pure functions over English.

Two ways. As a whole: "Is this true of the video: …". By its parts: the things it names, asked of single frames, and what they do,
asked of a few frames in a row. A small model often manages only the parts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["whole", "thing", "doing"]

MOST_THINGS = 4  # of one statement that are asked about
_ENDS_NOUN = frozenset(
    re.findall(
        r"\w+",
        "a an the in on at to from of for by with and or but while as is are was were be being been that which who whose where when then into onto "
        "over under above below near behind beside between around through across against along up down off out it its his her their",
    )
)
_NOT_THINGS = frozenset(
    re.findall(
        r"\w+",
        "video clip scene image picture frame frames series view camera shot background foreground left right top bottom center middle side "
        "moment time beginning end start part way direction color colour lot few number variety",
    )
)
_NOUN = re.compile(r"\b(?:a|an|one)\s+(?=((?:[^\W\d_][\w-]*\s*){1,5}))", re.IGNORECASE)
_CHANGES = re.compile(
    r"\b(?:a|an|the)\s+(?P<noun>[\w-]+(?:\s[\w-]+)?)\s+(?:changes|turns|goes)\s+from\s+(?P<old>\w+)\s+to\s+(?P<new>\w+)",
    re.IGNORECASE,
)
_MOVES = re.compile(
    r"\b(?:a|an|the)\s+(?P<noun>[\w-]+(?:\s[\w-]+){0,2}?)\s+(?:moves|goes|is moving|slides|drifts)\s+(?:to\s+the\s+)?"
    r"(?P<way>left|right|up|down)(?:wards?)?\b",
    re.IGNORECASE,
)
_COMES = re.compile(
    r"\b(?:a|an|the)\s+(?P<noun>[\w-]+(?:\s[\w-]+){0,2}?)\s+(?P<what>appears|disappears)\b", re.IGNORECASE
)
_STAYS = re.compile(
    r"\b(?:a|an|the)\s+(?P<noun>[\w-]+(?:\s[\w-]+){0,2}?)\s+(?:stays still|stays in place|does not move)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Claim:
    """A question about frames. `right`: the word that the answer must have; "yes" and "no" are read from the logits."""

    kind: Kind
    question: str
    right: str = "yes"


def whole(statement: str) -> Claim:
    quoted = statement.strip().replace("“", "'").replace("”", "'")
    return Claim("whole", f"Is this true of the video: “{quoted}” Answer yes or no.")


def parts(statement: str) -> list[Claim]:
    """The things that a statement names, and what it says they do; none where it names none."""
    found = [Claim("thing", f"Is there {thing} in the picture?") for thing in things(statement)]
    for match in _MOVES.finditer(statement):
        found.append(Claim("doing", f"Which way does the {match['noun'].lower()} move?", match["way"].lower()))
    for match in _COMES.finditer(statement):
        noun, what = match["noun"].lower(), match["what"].lower()
        found.append(Claim("doing", f"Does the {noun} appear or disappear?", what))
    for match in _STAYS.finditer(statement):
        found.append(Claim("doing", f"Does the {match['noun'].lower().split()[-1]} move?", "no"))
    return list(dict.fromkeys(found))


def things(statement: str) -> list[str]:
    """ "A red circle moves" → "a red circle", each once, the first MOST_THINGS."""
    found: list[str] = []
    for match in _CHANGES.finditer(statement):
        found += [_with_article(f"{match[color].lower()} {match['noun'].lower()}") for color in ("old", "new")]
    rest = _CHANGES.sub(" ", statement)
    found += [_with_article(noun) for match in _NOUN.finditer(rest) if (noun := _noun(match[1]))]
    return list(dict.fromkeys(found))[:MOST_THINGS]


def _noun(words: str) -> str:
    """The words up to the first one that cannot belong to a noun: a preposition, or a verb as in "moves", "standing"."""
    kept: list[str] = []
    for word in words.lower().split():
        if word in _ENDS_NOUN or (kept and _is_verb(word)) or len(kept) == 4:
            break
        kept.append(word)
    return " ".join(kept) if kept and kept[-1] not in _NOT_THINGS else ""


def _is_verb(word: str) -> bool:
    return word.endswith("ing") or (word.endswith("s") and not word.endswith(("ss", "us", "is")))


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def names(answer: str, word: str) -> bool:
    """Whether an answer has a word: "left" is in "To the left." and in "Leftwards". Other words in it do not matter."""
    return re.search(rf"\b{re.escape(word)}(?:wards?)?\b", answer, re.IGNORECASE) is not None
