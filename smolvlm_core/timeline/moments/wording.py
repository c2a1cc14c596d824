"""What people type ("When does the red ball appear?") → what a model is asked about each frame. Pure: knows English, no models."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from smolvlm_core.errors import LensError

Answers = Literal["yes or no", "color", "way"]
COLORS = [
    "red",
    "orange",
    "yellow",
    "green",
    "teal",
    "cyan",
    "turquoise",
    "blue",
    "navy",
    "purple",
    "violet",
    "magenta",
    "pink",
    "brown",
    "beige",
    "gold",
    "golden",
    "silver",
    "black",
    "gray",
    "white",
]
WAYS = ("left", "right", "up", "down")
WORDS: dict[Answers, dict[str, str]] = {
    "yes or no": {},
    "color": {**{color: color for color in COLORS}, "grey": "gray"},
    "way": {
        **{way: way for way in WAYS},
        **{way + end: way for way in WAYS for end in ("ward", "wards")},
        **{"upwards": "up", "downwards": "down", "top": "up", "bottom": "down"},
    },
}
HINT = (
    "Ask when something appears, disappears, turns red, changes color, changes direction or starts moving to the left, or ask a "
    "question with the answer yes or no, such as “Is there a red circle?”"
)
_WHEN = r"(?:(?:please )?(?:find|show me|tell me) )?(?:when|at (?:what|which) (?:times?|moments?|points?))"
_DO = r"(?:do|does|did|will|is|are|was|were)"
_PICTURE = r"(?: (?:in|into|on|from|out of|off) (?:the )?(?:picture|image|scene|frame|video|clip|view|screen|sight|room|door|house|building))?"
_AGAIN = r"(?: for the first time| again| suddenly)?"
_YES_NO = re.compile(
    r"(?:is|are|was|were|does|do|did|can|could|has|have|had|will|would|am|isn't|aren't|doesn't)\b", re.IGNORECASE
)
_MOTION = re.compile(
    r"\b(?:mov(?:e|es|ing)|motion|walk(?:s|ing)?|runs?|running|turning|rotat\w+|spinn\w+|fall(?:s|ing)?|driv\w+)\b",
    re.IGNORECASE,
)


class WordingError(LensError):
    """A question cannot be asked about each frame."""


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How a question is asked.

    Attributes:
        typed: by the user. `asked`: of the model, about each frame, or about a few frames in a row where `motion` is set.
        answers: what is read in the answer.
        begins, ends: what it is called when *yes* begins and ends; "" where that was not asked for.
        target: for words: only changes to this one were asked for; "" for all.
    """

    typed: str
    asked: str
    answers: Answers = "yes or no"
    begins: str = "begins"
    ends: str = "ends"
    target: str = ""
    motion: bool = False


def wording_of(typed: str) -> Wording:
    """Raises WordingError, with examples, where a question is neither about when something happens nor answered by yes or no."""
    text = " ".join(typed.split())
    bare = text.rstrip(" ?.!")
    for pattern, make in _PATTERNS:
        if (found := pattern.fullmatch(bare)) is not None:
            return make(typed.strip(), found)
    if bare and _YES_NO.match(bare):
        return Wording(typed=typed.strip(), asked=f"{_first_upper(bare)}?", motion=bool(_MOTION.search(bare)))
    if not bare:
        raise WordingError("The question is empty.", HINT)
    raise WordingError("This question does not ask when something happens.", HINT)


def presence(thing: str) -> str:
    """ "the red ball" → "Is there a red ball in the picture?"."""
    words = thing.split()
    first = words[0].lower()
    if first in ("my", "your", "his", "her", "our", "their", "this", "that", "these", "those") or words[0][0].isupper():
        return f"{'Are' if _is_plural(thing) else 'Is'} {thing} in the picture?"
    if first in ("a", "an", "any", "some", "no", "two", "three", "someone", "somebody", "anyone", "anybody", "people"):
        plural = first in ("two", "three", "people") or (first in ("any", "some") and _is_plural(thing))
        return f"{'Are' if plural else 'Is'} there {thing} in the picture?"
    noun = _noun(thing)
    if _is_plural(noun):
        return f"Are there any {noun} in the picture?"
    return f"Is there {_article(noun)} in the picture?"


def _appears(typed: str, found: re.Match[str]) -> Wording:
    return Wording(typed=typed, asked=presence(found["x"]), begins="appears", ends="")


def _disappears(typed: str, found: re.Match[str]) -> Wording:
    return Wording(typed=typed, asked=presence(found["x"]), begins="", ends="disappears")


def _is_there(typed: str, found: re.Match[str]) -> Wording:
    return Wording(typed=typed, asked=presence(found["x"]), begins="appears", ends="disappears")


def _turns(typed: str, found: re.Match[str]) -> Wording:
    thing, value = found["x"], found["y"].lower()
    if value in WORDS["color"] and thing.lower().startswith(("the ", "a ", "an ")) and not _is_plural(thing):
        noun = " ".join(w for w in _noun(thing).split() if w.lower() not in WORDS["color"])
        asked = f"Is there {_article(f'{value} {noun}'.strip())} in the picture?"
    else:
        asked = f"{'Are' if _is_plural(thing) else 'Is'} {thing} {value}?"
    return Wording(typed=typed, asked=asked, begins=f"turns {value}", ends="")


def _changes_color(typed: str, found: re.Match[str]) -> Wording:
    noun = " ".join(w for w in _noun(found["x"]).split() if w.lower() not in WORDS["color"]) or "object"
    return Wording(typed=typed, asked=f"What color {'are' if _is_plural(noun) else 'is'} the {noun}?", answers="color")


def _changes_direction(typed: str, found: re.Match[str]) -> Wording:
    return Wording(typed=typed, asked=_way(found["x"]), answers="way", motion=True)


def _moves_to(typed: str, found: re.Match[str]) -> Wording:
    way = WORDS["way"][found["y"].lower()]
    return Wording(typed=typed, asked=_way(found["x"]), answers="way", target=way, motion=True)


def _starts_moving(typed: str, found: re.Match[str]) -> Wording:
    asked = f"{_does(found['x'])} move?"
    starts = found["v"].lower() in ("start", "begin")
    begins, ends = ("starts moving", "") if starts else ("", "stops moving")
    return Wording(typed=typed, asked=asked, begins=begins, ends=ends, motion=True)


def _is_state(typed: str, found: re.Match[str]) -> Wording:
    asked = f"{found['be'].capitalize()} {found['x']}?"
    return Wording(typed=typed, asked=asked, motion=bool(_MOTION.search(asked)))


def _way(thing: str) -> str:
    return f"Which way {_does(thing).lower()[:4].strip()} {thing} move?"


def _does(thing: str) -> str:
    return f"{'Do' if _is_plural(thing) else 'Does'} {thing}"


def _noun(thing: str) -> str:
    """Without its article."""
    return re.sub(r"^(?:the|a|an) ", "", thing, flags=re.IGNORECASE)


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def _is_plural(noun: str) -> bool:
    last = noun.split()[-1].lower() if noun.split() else ""
    return last in ("people", "children", "men", "women") or (
        last.endswith("s") and not last.endswith(("ss", "us", "is"))
    )


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _pattern(tail: str) -> re.Pattern[str]:
    return re.compile(rf"{_WHEN} {_DO} (?P<x>.+?)(?: first)? {tail}", re.IGNORECASE)


_S = "(?:e?s)?"
_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[str, re.Match[str]], Wording]], ...] = (
    (re.compile(rf"{_WHEN} (?:is|are|was|were) there (?P<x>.+?){_PICTURE}", re.IGNORECASE), _is_there),
    (
        _pattern(rf"(?:visible|in view|in sight|shown|to be seen|in the (?:picture|image|frame|video)){_AGAIN}"),
        _is_there,
    ),
    (
        _pattern(
            rf"(?:appear|show up|turn up|pop up|come in|come|become visible|enter|arrive|start to appear){_S}(?: the \w+)?{_PICTURE}{_AGAIN}"
        ),
        _appears,
    ),
    (_pattern(rf"(?:disappear|vanish|go away|go|leave|exit|get lost){_S}(?: the \w+)?{_PICTURE}{_AGAIN}"), _disappears),
    (_pattern(rf"(?:change{_S}|switch{_S}) (?:its |their |the )?(?:moving )?directions?{_AGAIN}"), _changes_direction),
    (_pattern(rf"(?:turn around|turn back|reverse|bounce|bounce back){_AGAIN}"), _changes_direction),
    (_pattern(rf"change{_S} (?:its |their |the )?colou?rs?{_AGAIN}"), _changes_color),
    (
        _pattern(
            rf"(?:(?:start|begin){_S} (?:moving|to move|going|to go)|move|go) (?:to the |towards the |to )?"
            rf"(?P<y>(?:left|right|up|down)(?:wards?)?){_AGAIN}"
        ),
        _moves_to,
    ),
    (
        _pattern(
            rf"(?:turn|become|go|get|change (?:(?:its |their )?colou?r )?(?:from \w+ )?to|switch to) (?P<y>[\w-]+){_AGAIN}"
        ),
        _turns,
    ),
    (_pattern(rf"(?P<v>start|begin|stop){_S} (?:moving|to move){_AGAIN}"), _starts_moving),
    (re.compile(rf"{_WHEN} (?P<be>is|are|was|were) (?P<x>.+)", re.IGNORECASE), _is_state),
)
