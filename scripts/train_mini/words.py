"""The miniature's English: how each attribute is said, and every word that captions have. Pure.

Traps that the tables keep clear of: "under the stars" would say the shape of a thing, "on the left side" a relation. A
"green field", "blue water" or "white snow" names the place; the encoder learns to tell it from a green thing.
"""

from __future__ import annotations

import re

from train_mini import sentences

COLOR_WORDS = {
    "red": ("red", "red", "crimson", "scarlet", "ruby"),
    "orange": ("orange", "orange", "tangerine"),
    "yellow": ("yellow", "yellow", "golden", "gold", "lemon"),
    "green": ("green", "green", "emerald", "lime"),
    "blue": ("blue", "blue", "azure", "navy"),
    "purple": ("purple", "purple", "violet", "lilac"),
    "pink": ("pink", "pink", "rosy", "magenta"),
    "white": ("white", "white", "ivory"),
}
#: One and many.
SHAPE_WORDS = {
    "ball": (
        ("ball", "balls"), ("ball", "balls"), ("circle", "circles"), ("disc", "discs"), ("disk", "disks"),
        ("sphere", "spheres"), ("orb", "orbs"), ("bubble", "bubbles"),
    ),
    "square": (("square", "squares"), ("square", "squares"), ("box", "boxes"), ("cube", "cubes"), ("block", "blocks")),
    "triangle": (("triangle", "triangles"), ("triangle", "triangles"), ("pyramid", "pyramids"), ("cone", "cones")),
    "star": (("star", "stars"),),
    "heart": (("heart", "hearts"),),
}  # fmt: skip
#: What a thing of unknown shape is called.
THING_WORDS = (("thing", "things"), ("object", "objects"), ("shape", "shapes"))
SOMETHING = "something"
SIZE_WORDS = {
    "small": ("small", "small", "little", "tiny"),
    "medium": ("medium", "normal"),
    "big": ("big", "big", "large", "huge", "giant", "enormous"),
}

#: He, they and -ing forms of the verbs.
_VERBS = {
    "move": ("moves", "moving"), "roll": ("rolls", "rolling"), "slide": ("slides", "sliding"),
    "fly": ("flies", "flying"), "drift": ("drifts", "drifting"), "glide": ("glides", "gliding"),
    "float": ("floats", "floating"), "travel": ("travels", "traveling"), "go": ("goes", "going"),
    "run": ("runs", "running"), "rise": ("rises", "rising"), "climb": ("climbs", "climbing"),
    "ascend": ("ascends", "ascending"), "fall": ("falls", "falling"), "sink": ("sinks", "sinking"),
    "drop": ("drops", "dropping"), "descend": ("descends", "descending"), "bounce": ("bounces", "bouncing"),
    "jump": ("jumps", "jumping"), "hop": ("hops", "hopping"), "grow": ("grows", "growing"),
    "get": ("gets", "getting"), "become": ("becomes", "becoming"), "come": ("comes", "coming"),
    "expand": ("expands", "expanding"), "swell": ("swells", "swelling"), "approach": ("approaches", "approaching"),
    "shrink": ("shrinks", "shrinking"), "recede": ("recedes", "receding"), "circle": ("circles", "circling"),
    "orbit": ("orbits", "orbiting"), "stand": ("stands", "standing"), "stay": ("stays", "staying"),
    "rest": ("rests", "resting"), "remain": ("remains", "remaining"), "sit": ("sits", "sitting"),
    "lie": ("lies", "lying"), "hover": ("hovers", "hovering"),
}  # fmt: skip


def _moves(verbs: str, *tails: str) -> tuple[tuple[str, str, str], ...]:
    """Return each verb with each tail, as (it moves, they move, moving)."""
    said = [(verb, f" {tail}" if tail else "") for verb in verbs.split() for tail in tails or ("",)]
    return tuple((_VERBS[verb][0] + tail, verb + tail, _VERBS[verb][1] + tail) for verb, tail in said)


_SIDEWAYS = "move roll slide fly drift glide float travel go run"
#: A motion's phrases in three forms: one thing does it, two do it, doing it.
MOTION_WORDS = {
    "right": _moves(
        _SIDEWAYS, "to the right", "to the right", "right", "rightward", "rightwards", "from left to right",
        "towards the right", "toward the right", "from the left to the right",
    ),
    "left": _moves(
        _SIDEWAYS, "to the left", "to the left", "left", "leftward", "leftwards", "from right to left",
        "towards the left", "toward the left", "from the right to the left",
    ),
    "up": (
        *_moves("move fly float drift go", "up", "up", "upward", "upwards", "to the top", "from bottom to top"),
        *_moves("rise climb ascend", "", "", "", "up", "upwards"), *_moves("rise", "", "up", "to the top"),
    ),
    "down": (
        *_moves("move fly float drift go", "down", "down", "downward", "downwards", "to the bottom",
               "from top to bottom"),
        *_moves("fall sink drop descend", "", "", "", "down", "downwards"),
        *_moves("fall", "", "down", "to the bottom"),
    ),
    "bounce": _moves("bounce jump hop", "", "", "up and down", "around"),
    "grow": (
        *_moves("grow expand swell approach"), *_moves("get become grow", "bigger", "larger"),
        *_moves("come get", "closer", "nearer"),
    ),
    "shrink": (
        *_moves("shrink recede"), *_moves("shrink", "", "away"), *_moves("get become", "smaller", "smaller"),
        *_moves("go move", "away", "further away"),
    ),
    "circle": (
        *_moves("move fly go run", "in a circle", "in circles", "around in a circle", "round and round"),
        *_moves("circle orbit", "", "", "around"),
    ),
    "still": (
        *_moves("stand stay remain lie sit hover", "still", "still", "in place", "motionless"),
        *_moves("rest", "", "", "still"), ("does not move", "do not move", "not moving"),
        ("doesn't move", "don't move", "not moving"), ("is still", "are still", "motionless"),
        ("is motionless", "are motionless", "motionless"), ("is not moving", "are not moving", "not moving"),
        ("is static", "are static", "static"),
    ),
}  # fmt: skip

#: What is seen behind the things, with its article and without.
BACKGROUND_NOUNS = {
    "field": (
        ("a green field", "green field"), ("a green field", "green field"), ("a field", "field"),
        ("a meadow", "meadow"), ("the grass", "grass"), ("green grass", "green grass"), ("a lawn", "lawn"),
        ("a green meadow", "green meadow"),
    ),
    "sea": (
        ("the sea", "sea"), ("the sea", "sea"), ("the ocean", "ocean"), ("the water", "water"), ("water", "water"),
        ("the blue sea", "blue sea"), ("blue water", "blue water"), ("the waves", "waves"), ("a lake", "lake"),
    ),
    "night": (
        ("the night sky", "night sky"), ("the night", "night"), ("space", "space"), ("the dark", "dark"),
        ("a dark night", "dark night"), ("the darkness", "darkness"), ("a starry night", "starry night"),
        ("a night sky", "starry sky"), ("outer space", "outer space"),
    ),
    "desert": (
        ("the desert", "desert"), ("a desert", "desert"), ("the sand", "sand"), ("a sandy desert", "sandy desert"),
        ("yellow sand", "yellow sand"), ("the dunes", "dunes"), ("sand dunes", "sand dunes"),
    ),
    "room": (
        ("a room", "room"), ("the room", "room"), ("a grey room", "grey room"), ("a gray room", "gray room"),
        ("a wooden floor", "wooden floor"), ("the floor", "floor"), ("a table", "table"), ("a house", "house"),
    ),
    "snow": (
        ("the snow", "snow"), ("snow", "snow"), ("a snowy field", "snowy field"), ("white snow", "white snow"),
        ("the ice", "ice"), ("a winter landscape", "winter"), ("a snowy landscape", "snowy landscape"),
    ),
}  # fmt: skip
#: Places in a few words; the first is the plain one.
PLACE_WORDS = {
    "field": (
        "over a green field", "on a green field", "over a field", "in a field", "in a green field", "on the grass",
        "over the grass", "in a meadow", "over a meadow", "over green grass", "in the meadow", "on a lawn",
        "across a green field", "above a green field", "above the meadow",
    ),
    "sea": (
        "over the sea", "over the sea", "above the sea", "at sea", "by the sea", "over the ocean", "above the ocean",
        "on the water", "over the water", "above the water", "across the sea", "on the sea", "over the blue sea",
        "over the waves", "over a lake", "on the ocean", "in the ocean",
    ),
    "night": (
        "at night", "at night", "by night", "in the night", "in the night sky", "in the night sky", "in space",
        "in outer space", "in the dark", "in the darkness", "during the night", "through space", "in a starry night",
        "in a dark sky", "across the night sky", "under the night sky",
    ),
    "desert": (
        "in the desert", "in the desert", "over the desert", "in a desert", "on the sand", "over the sand",
        "in the sand", "over a sandy desert", "in a sandy desert", "on sand", "over sand dunes", "over the dunes",
        "across the desert", "above the desert",
    ),
    "room": (
        "in a room", "in a grey room", "in a grey room", "in a gray room", "in the room", "inside a room", "indoors",
        "on a wooden floor", "on the floor", "over a wooden floor", "on a table", "on the table", "on a wooden table",
        "above the table", "in a house", "inside",
    ),
    "snow": (
        "in the snow", "in the snow", "on the snow", "over the snow", "over snow", "on a snowy field",
        "over a snowy field", "in a snowy field", "in winter", "on the ice", "on ice", "over white snow",
        "in a snowy landscape", "above the snow",
    ),
}  # fmt: skip


def tokens_of(text: str) -> list[str]:
    """Return the words and the marks of *text*, as the tokenizer reads it."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def _strings(value: object) -> list[str]:
    """Return every string in nested tables, less the slots of templates; the keys of tables are not said."""
    if isinstance(value, str):
        return [re.sub(r"\{\w*\}", " ", value)]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return [each for part in parts for each in _strings(part)]


_TABLES = (
    COLOR_WORDS, SHAPE_WORDS, THING_WORDS, SOMETHING, SIZE_WORDS, MOTION_WORDS, BACKGROUND_NOUNS, PLACE_WORDS,
    *(table for name, table in vars(sentences).items() if name.isupper() and name != "NOISE"),
)  # fmt: skip

#: The words for a thing that can be shown, and for its colour.
THINGS = tuple(
    sorted(
        {token for text in _strings((COLOR_WORDS, SHAPE_WORDS, THING_WORDS, SOMETHING)) for token in tokens_of(text)}
    )
)

#: Every word and mark that captions are made of, sorted.
VOCABULARY = tuple(sorted({token for text in _strings(_TABLES) for token in tokens_of(text)}))
