"""How captions are built from words: places, pairs, sentences, requests, as templates. Pure."""

from __future__ import annotations

#: Places that are built from a noun.
BACKGROUND_FRAMES = ("with {noun} in the background", "with {noun} behind", "against {noun}", "in front of {noun}")

#: Two things: {a} is the upper or the left one; without a relation, the first one said. The first is the plain one.
PAIR_WORDS = {
    "above": (
        "{a} above {b}", "{a} above {b}", "{a} over {b}", "{a} on top of {b}", "{b} below {a}", "{b} below {a}",
        "{b} under {a}", "{b} under {a}", "{b} beneath {a}", "{b} underneath {a}", "{a} and below it {b}",
        "at the top {a}, at the bottom {b}", "at the bottom {b}, at the top {a}",
        "{a} at the top and {b} at the bottom", "{b} at the bottom and {a} at the top", "{a} is above {b}",
        "{b} is below {a}", "{b} is under {a}", "{a} and {b} below it", "{b} and {a} above it", "{a} with {b} under it",
        "above {a}, below {b}", "{a} at the top, {b} at the bottom", "top: {a}, bottom: {b}",
    ),
    "left": (
        "{a} to the left of {b}", "{a} left of {b}", "{a} on the left of {b}", "{b} to the right of {a}",
        "{b} right of {a}", "{b} on the right of {a}", "on the left {a}, on the right {b}",
        "on the right {b}, on the left {a}", "{a} on the left and {b} on the right", "{a} left, {b} right",
        "{b} on the right and {a} on the left", "{a} is to the left of {b}", "{b} is to the right of {a}",
        "{a} is left of {b}", "{b} is right of {a}", "{a} and to the right of it {b}", "{b} and to the left of it {a}",
        "{a} on the left, {b} on the right", "left: {a}, right: {b}", "left {a}, right {b}",
    ),
    None: (
        "{a} and {b}", "{a} and {b}", "{a} and {b}", "{a} next to {b}", "{a} beside {b}", "{a} near {b}",
        "{a} with {b}", "{a} together with {b}", "{a}, {b}", "{a} and {b} next to each other", "both {a} and {b}",
    ),
}  # fmt: skip
#: Two of one shape: {kind} is its plural. The pair follows with "one" for the noun.
TWINS = ("two {kind}: {pair}", "two {kind}, {pair}", "{pair}, two {kind}")
ONE = "one"

#: Two things that look the same, {kind} is their plural: which is which need not be said.
LIKES = {
    "above": (
        "two {kind}, one above the other", "two {kind}, one below the other", "two {kind}, one on top of the other",
        "a pair of {kind}, one over the other", "two {kind}, one under the other",
    ),
    "left": ("two {kind} side by side", "two {kind}, one left, one right", "two {kind}, one to the left of the other"),
    None: ("two {kind}", "two {kind}", "a pair of {kind}", "two {kind} next to each other", "two {kind} together"),
}  # fmt: skip

#: {they} of two, {verb} or {ing} of it. What two do is said of one as well: they move as one.
BOTH = ("{verb}", "{verb}", "both {verb}", "{verb} together", "both {verb} together")

#: Sentences by what they say beside the subject: motion and place, motion, place. The first is the plain one.
SENTENCES = {
    (True, True): (
        "{s} {verb} {place}", "{s} {verb} {place}", "{s} {verb} {place}", "{s} {ing} {place}", "{s} {ing} {place}",
        "{s} {is} {ing} {place}", "{s} that {verb} {place}", "{s}, {ing}, {place}", "{s}, {ing} {place}",
        "{s} {place}, {ing}", "{s} {place} {verb}", "{s} {place}. {they} {verb}", "{s} {verb}, {place}",
        "there {is} {s} {place}. {they} {verb}", "there {is} {s} {ing} {place}", "{s}. {they} {verb} {place}",
        "{place}, {s} {verb}", "{place} {s} {verb}", "{place}: {s}, {ing}", "{place}, {s} {ing}",
        "{place} there {is} {s} {ing}", "{ing} {place}, {s}", "{ing}, {s} {place}", "{ing}: {s}, {place}",
        "{s} {verb}. background: {bare}", "{s} {ing}, {bare}", "{bare}, {s} {ing}", "{s} {ing}, {bare} background",
        "let {s} {base} {place}", "make {s} {base} {place}", "i want {s} to {base} {place}",
    ),
    (True, False): (
        "{s} {verb}", "{s} {verb}", "{s} {ing}", "{s} {ing}", "{s} {is} {ing}", "{s} that {verb}", "{s}, {ing}",
        "{ing}, {s}", "{ing}: {s}", "there {is} {s}. {they} {verb}", "{s}. {they} {is} {ing}", "there {is} {s} {ing}",
        "let {s} {base}", "make {s} {base}",
    ),
    (False, True): (
        "{s} {place}", "{s} {place}", "{s}, {place}", "{place}, {s}", "{place} {s}", "{place}: {s}", "{s} {is} {place}",
        "there {is} {s} {place}", "{place} there {is} {s}", "{s}, {bare}", "{bare}, {s}", "{s}. background: {bare}",
    ),
    (False, False): ("{s}", "{s}", "there {is} {s}"),
}  # fmt: skip
#: What is said before.
REQUESTS = (
    "a video of {}", "a clip of {}", "a video of {}", "show me {}", "please show {}", "make a video of {}", "i want {}",
    "an animation of {}", "please {}", "{}, please", "a picture of {}", "make {}", "i want to see {}",
    "a scene with {}", "a short video of {}", "can you show me {}?", "create a video of {}", "generate {}",
    "a movie of {}",
)  # fmt: skip

#: Said of one noun; *{noun}* has its article, {color} and {size} may follow it.
ARTICLES = ("a", "a", "a", "a", "a", "a", "the", "one", "this", "some")
ANOTHER = "another"
AFTERTHOUGHTS = ("{noun} that is {adjectives}", "{noun} which is {adjectives}", "{noun}, {adjectives},")
COLOR_FRAMES = ("{noun} of {color} color", "{noun} in {color}", "{noun} of {color} colour", "{color} colored {bare}")
OTHER_FORMS = "an it they is are be , . !"

#: Not in the vocabulary, on purpose: what people add to prompts and the miniature cannot show.
NOISE = (
    "cinematic", "4k", "hd", "8k", "beautiful", "detailed", "realistic", "smooth", "smoothly", "slowly", "quickly",
    "epic", "masterpiece", "professional", "vibrant", "high", "quality", "camera", "style", "lighting", "bokeh",
    "gentle", "very", "amazing", "shiny", "cute", "render", "octane", "photo", "anime", "cat", "dancing", "city",
    "zoom", "dramatic", "hdr", "elegant", "happy", "bright", "soft", "film", "grain", "wide", "angle", "shot", "sharp",
    "focus", "her", "his", "while",
)  # fmt: skip
