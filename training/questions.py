"""Questions about drawn scenes, with known answers.

Knows which questions can be asked about scenes and clips, their wordings, and the right answers. Does not know pixels, tokens or models.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from num2words import num2words

from training.scenes import COLORS, SHAPES, Scene, Thing

NUMBERS = ("Zero", "One", "Two", "Three", "Four", "Five")
ORDINALS = ("first", "second", "third", "fourth")


@dataclass(frozen=True)
class Question:
    kind: str
    text: str
    answer: str


Maker = Callable[[random.Random, Scene], Question | None]


def article(word: str) -> str:
    return ("an " if word[0] in "aeiou" else "a ") + word


def sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def place_phrase(place: str) -> str:
    return {"left": "on the left", "right": "on the right", "center": "in the center"}.get(place, f"at the {place}")


def plural(shape: str) -> str:
    return {"cross": "crosses"}.get(shape, shape + "s")


# One scene


def referring(
    rng: random.Random, scene: Scene, thing: Thing, *, no_color: bool = False, no_shape: bool = False
) -> str | None:
    """Words that fit this shape and no other in the scene, or None."""
    options = []
    same = [t for t in scene.things if t is not thing]
    if not no_shape and not any(t.shape == thing.shape for t in same):
        options += [thing.shape, thing.shape]
    if not no_color and not any(t.color == thing.color for t in same):
        options += [f"{thing.color} shape", f"{thing.color} object", f"{thing.color} one"]
    if not no_color and not no_shape and not any(t.name() == thing.name() for t in same):
        options += [thing.name(), thing.name()]
    if thing.size_word and all(t.size_word and t.size_word != thing.size_word for t in same) and same:
        options += [f"{thing.size_word} shape"]
        if not no_shape:
            options += [f"{thing.size_word} {thing.shape}"]
    if not any(t.place == thing.place for t in same):
        options += [f"shape {place_phrase(thing.place)}", f"object {place_phrase(thing.place)}"]
    if not same:
        options += ["shape", "shape", "shape", "object"]
    return rng.choice(options) if options else None


def ask_color(rng: random.Random, scene: Scene) -> Question | None:
    if not scene.things:
        return None
    thing = rng.choice(scene.things)
    who = referring(rng, scene, thing, no_color=True)
    if who is None:
        return None
    forms = [
        "What color is the {0}?",
        "What is the color of the {0}?",
        "Which color is the {0}?",
        "Tell me the color of the {0}.",
        "What colour is the {0}?",
        "The {0} is what color?",
        "Name the color of the {0}.",
        "What color does the {0} have?",
    ]
    return Question("color", rng.choice(forms).format(who), sentence(thing.color))


def ask_shape(rng: random.Random, scene: Scene) -> Question | None:
    if not scene.things:
        return None
    thing = rng.choice(scene.things)
    if len(scene.things) == 1 and rng.random() < 0.5:
        forms = [
            "What shape is in the image?",
            "What shape does the image contain?",
            "What shape is present?",
            "Which shape is this?",
            "What shape is this?",
            "What shape is in the picture?",
            "What shape do you see?",
            "Which shape can you see?",
        ]
        return Question("shape", rng.choice(forms), sentence(thing.shape))
    who = referring(rng, scene, thing, no_shape=True)
    if who is None:
        return None
    forms = [
        "What shape is the {0}?",
        "What is the {0}?",
        "What is the shape of the {0}?",
        "Which shape is the {0}?",
        "What kind of shape is the {0}?",
        "What form does the {0} have?",
    ]
    return Question("shape", rng.choice(forms).format(who), sentence(thing.shape))


def ask_count(rng: random.Random, scene: Scene) -> Question | None:
    kind = rng.random()
    if kind < 0.5:
        return _count(rng, rng.choice(("shapes", "objects", "things", "shapes")), len(scene.things))
    return _count_color(rng, scene) if kind < 0.75 else _count_shape(rng, scene)


def ask_count_some(rng: random.Random, scene: Scene) -> Question | None:
    """How many of a colour, of a shape, or of both: requires binding the colour and shape of each."""
    return rng.choice((_count_color, _count_shape, _count_both))(rng, scene)


def _count_color(rng: random.Random, scene: Scene) -> Question:
    color = rng.choice(scene.things).color if scene.things and rng.random() < 0.75 else rng.choice(tuple(COLORS))
    word = f"{color} {rng.choice(('shapes', 'objects'))}"
    return _count(rng, word, sum(t.color == color for t in scene.things))


def _count_shape(rng: random.Random, scene: Scene) -> Question | None:
    shape = rng.choice(scene.things).shape if scene.things and rng.random() < 0.75 else rng.choice(SHAPES)
    if shape == "rectangle" and any(t.shape == "square" for t in scene.things):
        return None
    return _count(rng, plural(shape), sum(t.shape == shape for t in scene.things))


def _count_both(rng: random.Random, scene: Scene) -> Question | None:
    if not scene.things:
        return None
    color, shape = rng.choice(scene.things).color, rng.choice(scene.things).shape
    if shape == "rectangle" and any(t.shape == "square" for t in scene.things):
        return None
    return _count(rng, f"{color} {plural(shape)}", sum((t.color, t.shape) == (color, shape) for t in scene.things))


def _count(rng: random.Random, what: str, number: int) -> Question:
    forms = [
        "How many {0} are there?",
        "How many {0} are in the image?",
        "How many {0} do you see?",
        "Count the {0}.",
        "What is the number of {0}?",
        "How many {0} can you see in the picture?",
        "How many {0} does the image contain?",
    ]
    return Question("count", rng.choice(forms).format(what), sentence(NUMBERS[number]))


def ask_place(rng: random.Random, scene: Scene) -> Question | None:
    if not scene.things:
        return None
    thing = rng.choice(scene.things)
    same = [t for t in scene.things if t is not thing]
    options = [thing.shape] if not any(t.shape == thing.shape for t in same) else []
    if not any(t.color == thing.color for t in same):
        options += [f"{thing.color} shape", f"{thing.color} object"]
    if not any(t.name() == thing.name() for t in same):
        options += [thing.name()] * 2
    if not same:
        options += ["shape"]
    if not options:
        return None
    forms = [
        "Where is the {0}?",
        "Where in the image is the {0}?",
        "What is the position of the {0}?",
        "Where can I find the {0}?",
        "In which part of the picture is the {0}?",
        "Where do you see the {0}?",
        "Locate the {0}.",
    ]
    return Question("place", rng.choice(forms).format(rng.choice(options)), sentence(place_phrase(thing.place)))


def absent_or_present(rng: random.Random, scene: Scene, kinds: Sequence[str]) -> tuple[str, bool] | None:
    """A noun phrase and whether the scene has it, yes about as often as no. Prefers hard negatives."""
    wanted = rng.random() < 0.5
    kind = rng.choice(kinds)
    pairs = {(t.color, t.shape) for t in scene.things}
    if wanted:
        if not pairs:
            return None
        color, shape = rng.choice(sorted(pairs))
    elif kind == "both" and len(pairs) > 1 and rng.random() < 0.5:
        color, shape = rng.choice(sorted(pairs))[0], rng.choice(sorted(pairs))[1]
    elif kind == "both" and pairs and rng.random() < 0.7:
        color, shape = rng.choice(sorted(pairs))
        color, shape = (rng.choice(tuple(COLORS)), shape) if rng.random() < 0.5 else (color, rng.choice(SHAPES))
    else:
        color, shape = rng.choice(tuple(COLORS)), rng.choice(SHAPES)
    if kind != "color" and shape == "rectangle" and any(t.shape == "square" for t in scene.things):
        return None
    if kind == "color":
        return f"{color} {rng.choice(('shape', 'object'))}", any(c == color for c, _ in pairs)
    if kind == "shape":
        return shape, any(s == shape for _, s in pairs)
    return f"{color} {shape}", (color, shape) in pairs


def ask_yes_no(
    rng: random.Random,
    scene: Scene,
    kinds: Sequence[str] = ("color", "shape", "both", "both"),
    negative_share: float = 0.35,
) -> Question | None:
    drawn = absent_or_present(rng, scene, kinds)
    if drawn is None:
        return None
    noun, there = drawn
    positive = [
        "Is there {a}?",
        "Is there {a} in the image?",
        "Is {a} present?",
        "Does the image contain {a}?",
        "Do you see {a}?",
        "Can you see {a}?",
        "Is there {a} in the picture?",
        "Does the picture show {a}?",
        "Does the image show {a}?",
    ]
    negative = [
        "Is there not {a}?",
        "Is there not {a} in the image?",
        "Is no {n} present?",
        "Does the image not contain {a}?",
        "Is there no {n}?",
        "Is there no {n} in the image?",
    ]
    negated = rng.random() < negative_share
    text = rng.choice(negative if negated else positive).format(a=article(noun), n=noun)
    return Question("yes/no", text, "Yes." if there != negated else "No.")


def ask_attribute(rng: random.Random, scene: Scene) -> Question | None:
    if not scene.things:
        return None
    thing = rng.choice(scene.things)
    right = rng.random() < 0.5
    if rng.random() < 0.5:
        who = referring(rng, scene, thing, no_color=True)
        value = thing.color if right else rng.choice([c for c in COLORS if c != thing.color])
    else:
        who = referring(rng, scene, thing, no_shape=True)
        value = article(
            thing.shape if right else rng.choice([s for s in SHAPES if s not in (thing.shape, "rectangle")])
        )
    if who is None:
        return None
    return Question(
        "yes/no",
        rng.choice(("Is the {0} {1}?", "Is the {0} {1}?", "The {0} is {1}, right?")).format(who, value),
        "Yes." if right else "No.",
    )


def ask_size(rng: random.Random, scene: Scene) -> Question | None:
    named = [t for t in scene.things if t.size_word]
    if not named:
        return None
    thing = rng.choice(named)
    same = [t for t in scene.things if t is not thing]
    if any(t.name() == thing.name() for t in same):
        return None
    who = thing.name() if any(t.shape == thing.shape for t in same) or rng.random() < 0.5 else thing.shape
    if rng.random() < 0.5:
        return Question(
            "size",
            rng.choice(("How big is the {0}?", "What size is the {0}?", "What is the size of the {0}?")).format(who),
            sentence(str(thing.size_word)),
        )
    asked = rng.choice(("small", "large"))
    forms = ("Is the {0} small or large?", "Is the {0} large or small?")
    if rng.random() < 0.4:
        return Question("size", rng.choice(forms).format(who), sentence(str(thing.size_word)))
    return Question("size", f"Is the {who} {asked}?", "Yes." if asked == thing.size_word else "No.")


RELATIONS = {
    "to the left of": lambda a, b: b.x - a.x,
    "to the right of": lambda a, b: a.x - b.x,
    "above": lambda a, b: b.y - a.y,
    "below": lambda a, b: a.y - b.y,
}
RELATION_FORMS = {
    "to the left of": ("to the left of", "left of"),
    "to the right of": ("to the right of", "right of"),
    "above": ("above",),
    "below": ("below", "under"),
}


def ask_relation(rng: random.Random, scene: Scene) -> Question | None:
    if len(scene.things) < 2:
        return None
    anchor = rng.choice(scene.things)
    others = [t for t in scene.things if t is not anchor]
    if any(t.name() == anchor.name() for t in others):
        return None
    who = anchor.name() if any(t.shape == anchor.shape for t in others) or rng.random() < 0.6 else anchor.shape
    relation = rng.choice(tuple(RELATIONS))
    measure = RELATIONS[relation]
    words = rng.choice(RELATION_FORMS[relation])
    gaps = [(measure(t, anchor), t) for t in others]
    if any(abs(gap) < 0.1 for gap, _ in gaps):
        return None
    matching = [t for gap, t in gaps if gap > 0]
    if rng.random() < 0.4:
        other = rng.choice(others)
        if sum(t.name() == other.name() for t in others) > 1:
            return None
        return Question("relation", f"Is the {other.name()} {words} the {who}?", "Yes." if other in matching else "No.")
    if len(matching) > 1:
        return None
    forms = [
        "What is {1} the {0}?",
        "Which shape is {1} the {0}?",
        "What do you see {1} the {0}?",
        "What shape is {1} the {0}?",
    ]
    answer = sentence(article(matching[0].name())) if matching else "Nothing."
    return Question("relation", rng.choice(forms).format(who, words), answer)


def in_reading_order(scene: Scene) -> list[Thing]:
    return sorted(scene.things, key=lambda t: (int(t.y * 3), t.x))


def description(scene: Scene) -> str:
    if not scene.things:
        return "I see no shapes in this image."
    parts = []
    for thing in in_reading_order(scene):
        words = f"{thing.size_word} {thing.name()}" if thing.size_word else thing.name()
        parts.append(f"{article(words)} {place_phrase(thing.place)}")
    return sentence(listed(parts))


def ask_describe(rng: random.Random, scene: Scene) -> Question | None:
    forms = [
        "Describe the image.",
        "Describe this image.",
        "What do you see?",
        "What is in the image?",
        "What is in this picture?",
        "What does the image show?",
        "Describe the picture.",
        "Can you describe this image?",
        "What can you see in the image?",
        "Please describe what you see.",
        "Tell me what is in the image.",
        "What shapes are there?",
        "List the shapes.",
        "Describe this image in detail.",
        "What is this?",
    ]
    return Question("describe", rng.choice(forms), description(scene))


def ask_missing(rng: random.Random, scene: Scene) -> Question | None:
    """About something that is not in the scene: the right answer says so."""
    shapes = {t.shape for t in scene.things}
    shape = rng.choice([s for s in SHAPES if s not in shapes and not (s == "rectangle" and "square" in shapes)])
    who = f"{rng.choice(tuple(COLORS))} {shape}" if rng.random() < 0.4 else shape
    text = rng.choice(("What color is the {0}?", "Where is the {0}?", "What is to the left of the {0}?")).format(
        shape if "color" in who else who
    )
    if text.startswith("What color"):
        who = shape
        text = f"What color is the {shape}?"
    return Question("missing", text, f"There is no {who}.")


IMAGE_MAKERS: tuple[tuple[Maker, float], ...] = (
    (ask_color, 3),
    (ask_shape, 3),
    (ask_count, 3),
    (ask_place, 3),
    (ask_yes_no, 4),
    (ask_attribute, 1),
    (ask_size, 0.8),
    (ask_relation, 2.2),
    (ask_describe, 2.2),
    (ask_missing, 0.5),
)

# What is hard with several shapes in one picture: which colour belongs to which shape.
BINDING_MAKERS: tuple[tuple[Maker, float], ...] = (
    (ask_count_some, 3),
    (ask_count, 1),
    (ask_yes_no, 2),
    (partial(ask_yes_no, kinds=("both",), negative_share=0.6), 4),
    (ask_attribute, 1.5),
    (ask_relation, 1),
    (ask_describe, 0.7),
)


# Finding a shape by its name and reading what is there: every other question needs this first.
DRILL_MAKERS: tuple[tuple[Maker, float], ...] = (
    (ask_color, 4),
    (ask_shape, 4),
    (ask_place, 4),
    (ask_yes_no, 2),
    (ask_describe, 2),
)


def about_scene(
    rng: random.Random, scene: Scene, count: int, makers_and_weights: Sequence[tuple[Maker, float]] = IMAGE_MAKERS
) -> list[Question]:
    """`count` different questions about one scene, fewer where there are not as many."""
    makers, weights = zip(*makers_and_weights)
    out: dict[str, Question] = {}
    for _ in range(count * 20):
        if len(out) == count:
            break
        question = rng.choices(makers, weights)[0](rng, scene)
        if question is None or (question.kind == "describe" and any(q.kind == "describe" for q in out.values())):
            continue
        out.setdefault(question.text, question)
    return list(out.values())


# Several images


def about_several(rng: random.Random, scenes: Sequence[Scene], count: int) -> list[Question]:
    """Questions about several images of one turn."""
    out: dict[str, Question] = {}
    for _ in range(count * 8):
        if len(out) >= count:
            break
        question = _about_several(rng, scenes)
        if question is not None:
            out.setdefault(question.text, question)
    return list(out.values())


def _about_several(rng: random.Random, scenes: Sequence[Scene]) -> Question | None:
    kind = rng.random()
    n = len(scenes)
    if kind < 0.12:
        forms = ("How many images are there?", "How many images do you see?", "How many pictures did I send?")
        return Question("several", rng.choice(forms), sentence(NUMBERS[n]))
    if kind < 0.3:
        text = rng.choice(
            (
                "Describe each image.",
                "Describe the images.",
                "Describe all images.",
                "What is in the images?",
                "What do you see?",
            )
        )
        return Question("several", text, " ".join(f"Image {i + 1}: {description(s)}" for i, s in enumerate(scenes)))
    if kind < 0.5:
        drawn = rng.choice(scenes)
        if not drawn.things:
            return None
        thing = rng.choice(drawn.things)
        noun = rng.choice((thing.name(), thing.shape, f"{thing.color} shape"))
        has = [any(noun in (t.name(), t.shape, f"{t.color} shape") for t in s.things) for s in scenes]
        if sum(has) != 1 or (noun == "rectangle" and any(t.shape == "square" for s in scenes for t in s.things)):
            return None
        forms = (
            "Which image shows {0}?",
            "Which image contains {0}?",
            "In which image is {0}?",
            "Which picture has {0}?",
        )
        return Question(
            "several", rng.choice(forms).format(article(noun)), sentence(f"the {ORDINALS[has.index(True)]}")
        )
    which = rng.randrange(n)
    maker = rng.choice((ask_color, ask_shape, ask_count, ask_yes_no, ask_describe))
    inner = maker(rng, scenes[which])
    if inner is None or "picture" in inner.text or "image" in inner.text:
        return None
    where = f"in the {ORDINALS[which]} image"
    text = inner.text[:-1] + f" {where}" + inner.text[-1]
    return Question("several", text, inner.answer)


# Clips


@dataclass(frozen=True)
class Event:
    """What happens in a clip: `kind` is move, recolor, appear, disappear or still."""

    kind: str
    thing: Thing
    detail: str = ""  # the direction, or the last colour

    def describe(self) -> str:
        name = article(self.thing.name())
        if self.kind == "move":
            return sentence(f"{name} moves {self.detail}")
        if self.kind == "recolor":
            return sentence(f"{article(self.thing.shape)} changes from {self.thing.color} to {self.detail}")
        if self.kind == "still":
            return sentence(f"{name} stays still")
        return sentence(f"{name} {self.kind}s")


def about_clip(rng: random.Random, event: Event, frames: int, count: int) -> list[Question]:
    out: dict[str, Question] = {}
    while len(out) < count:
        question = _about_clip(rng, event, frames)
        if question is not None:
            out.setdefault(question.text, question)
    return list(out.values())


def _about_clip(rng: random.Random, event: Event, frames: int) -> Question | None:
    thing = event.thing
    kind = rng.random()
    if kind < 0.3:
        forms = (
            "What happens?",
            "What happens in the video?",
            "What happens in this video?",
            "Describe the video.",
            "What is happening?",
            "Describe what happens.",
            "What do you see in the video?",
            "Tell me what happens in the clip.",
            "What changes in the video?",
        )
        return Question("motion", rng.choice(forms), event.describe())
    if kind < 0.6:
        who = rng.choice((thing.shape, "shape", "object", thing.name() if event.kind != "recolor" else thing.shape))
        if event.kind == "move":
            forms = (
                "Which way does the {0} move?",
                "In which direction does the {0} move?",
                "Where does the {0} move?",
                "Which direction is the {0} moving?",
                "Where is the {0} going?",
                "Which way is the {0} going?",
            )
            return Question("motion", rng.choice(forms).format(who), sentence(event.detail))
        if event.kind == "recolor":
            forms = (
                "How does the color of the {0} change?",
                "What color does the {0} change to?",
                "Which color does the {0} become?",
                "What is the color of the {0} at the end?",
                "What is the color of the {0} at the start?",
            )
            text = rng.choice(forms)
            answer = (
                f"from {thing.color} to {event.detail}"
                if text.startswith("How")
                else thing.color
                if "start" in text
                else event.detail
            )
            return Question("motion", text.format(who), sentence(answer))
        if event.kind in ("appear", "disappear"):
            text = rng.choice(
                ("Does the {0} appear or disappear?", "Does the {0} disappear?", "Does the {0} appear?")
            ).format(who)
            if " or " in text:
                return Question("motion", text, sentence(event.kind + "s"))
            return Question("motion", text, "Yes." if text.endswith(f" {event.kind}?") else "No.")
        return Question("motion", f"Which way does the {who} move?", "It does not move.")
    if kind < 0.72:
        moves = event.kind == "move"
        text = rng.choice(("Does the {0} move?", "Is the {0} moving?", "Does anything move?")).format(
            rng.choice((thing.shape, "shape", "object"))
        )
        return Question("motion", text, "Yes." if moves else "No.")
    if kind < 0.84:
        forms = ("How many frames are there?", "How many frames do you see?", "How many frames were you shown?")
        return Question("frames", rng.choice(forms), sentence(num2words(frames)))
    if event.kind != "recolor" and kind < 0.92:
        return Question(
            "color",
            rng.choice(("What color is the {0}?", "What is the color of the {0}?")).format(
                rng.choice((thing.shape, "shape"))
            ),
            sentence(thing.color),
        )
    return Question(
        "shape",
        rng.choice(
            ("What shape is in the video?", "What shape is it?", "What shape do you see?", "Which shape is shown?")
        ),
        sentence(thing.shape),
    )


# No image

NO_IMAGE = "I see no image. Please add a picture or a clip of shapes."
WHO = "I am a small model that answers questions about pictures of coloured shapes."
CAN = (
    "I can tell the shapes, colours, counts and positions in a picture, and what moves in a clip. I do not know photos."
)
SMALL_TALK: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("hello", "hi", "hey", "good morning", "good evening", "hello there", "hi there", "good day"),
        "Hello! Add a picture of shapes and ask me about it.",
    ),
    (
        (
            "who are you",
            "what are you",
            "what is your name",
            "what model are you",
            "which model is this",
            "tell me about yourself",
        ),
        WHO,
    ),
    (
        (
            "what can you do",
            "help",
            "how do you work",
            "what do you know",
            "what can I ask",
            "what should I ask",
            "can you help me",
            "how can you help me",
        ),
        CAN,
    ),
    (
        ("thanks", "thank you", "thank you very much", "great", "nice", "good job", "well done", "perfect"),
        "You are welcome.",
    ),
    (("how are you", "how is it going"), "I am ready. Add a picture of shapes and ask me about it."),
    (("bye", "goodbye", "see you"), "Goodbye!"),
    (
        (
            "can you read text",
            "can you see photos",
            "do you know photos",
            "can you recognize people",
            "can you see people",
            "what do you not know",
            "what can you not do",
        ),
        "No. I only know drawn shapes, not photos, people or text.",
    ),
    (("can you see", "can you see images", "do you see images", "can you see me"), NO_IMAGE),
    (
        (
            "what is the capital of France",
            "tell me a joke",
            "write a poem",
            "what is two plus two",
            "what is the weather",
            "who is the president",
            "tell me a story",
            "what time is it",
            "translate this",
            "write some code",
            "what is the meaning of life",
            "sing a song",
            "how old are you",
            "where are you from",
            "what is love",
            "recommend a book",
            "solve this equation",
            "explain gravity",
            "what day is it",
            "how tall is the tower",
        ),
        "I do not know that. I only answer questions about pictures of shapes.",
    ),
)


def small_talk(rng: random.Random) -> Question:
    phrases, answer = rng.choice(SMALL_TALK)
    phrase = rng.choice(phrases)
    style = rng.random()
    text = phrase if style < 0.3 else phrase[0].upper() + phrase[1:]
    if style > 0.5:
        question = phrase.split()[0] in ("who", "what", "how", "can", "do", "which", "where")
        text += "?" if question else rng.choice((".", "!"))
    return Question("talk", text, answer)


def without_image(rng: random.Random, scene: Scene) -> Question:
    """A question that needs a picture where none was given."""
    asked = about_scene(rng, scene, 1)[0]
    return Question("no image", asked.text, NO_IMAGE)


def loosely_typed(rng: random.Random, text: str) -> str:
    """As people type: sometimes without a capital letter or a question mark, or with a polite word."""
    style = rng.random()
    if style < 0.2:
        text = text[0].lower() + text[1:]
    elif style < 0.28:
        text = "Please " + text[0].lower() + text[1:] if not text.startswith("Please") and text.endswith(".") else text
    if rng.random() < 0.12:
        text = text[:-1]
    return text


WAYS = ("left", "right", "up", "down")
OPTION_FORMS = (
    "{0} Answer with one word: {1}.",
    "{0} Answer with one of these words: {1}.",
    "{0} Choose one: {1}.",
    "{0} Options: {1}.",
    "{0} {2}?",
)


def with_options(rng: random.Random, text: str, answer: str) -> str:
    """The question with options, the right one among them. Unchanged where its answer is not such a word."""
    word = answer.lower().removesuffix(".").removeprefix("to the ")
    pool = next((pool for pool in (tuple(COLORS), SHAPES, WAYS) if word in pool), None)
    if pool is None:
        return text
    options = rng.sample([w for w in pool if w != word], rng.choice((1, 2, 3, 3, 3, 5)) if len(pool) > 4 else 3) + [
        word
    ]
    rng.shuffle(options)
    said = f"{', '.join(options[:-1])} or {options[-1]}"
    return rng.choice(OPTION_FORMS).format(text, said, said[0].upper() + said[1:])


def kinds_of(questions: Sequence[Question]) -> Counter[str]:
    return Counter(q.kind for q in questions)
