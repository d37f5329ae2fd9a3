"""Say a scene in plain English, in many wordings: what the miniature's text encoder learns to read. Pure.

A size that is not said means a medium one: nobody says "a medium ball". Everything else that is not said is open.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy

from train_mini import sentences, words
from train_mini.scene import Scene, Thing

Item = TypeVar("Item")

#: How often an attribute is left open.
FORGOTTEN = 0.06

_KNOWN = frozenset(words.VOCABULARY)

_BARE = 0.1
_REQUESTED = 0.15
_NOISY = 0.2
_CAPITALISED = 0.25
_SHOUTED = 0.02
_ENDED = 0.2
_SUBJECT_DROPPED = 0.3
_MEDIUM_SAID = 0.15


def caption(scene: Scene, rng: numpy.random.Generator) -> str:
    """Return *scene* in a random wording; one caption in five has words that are not in the vocabulary."""
    return _Speaker(rng).caption(scene)


def plain_caption(scene: Scene) -> str:
    """Return *scene* in one fixed wording: "a small red ball moves to the right over a green field"."""
    nouns = [_joined(_article("a", noun), noun) for noun in map(_plain_noun, scene.things)]
    subject = nouns[0]
    if len(nouns) > 1:
        subject = sentences.PAIR_WORDS[scene.relation][0].format(a=nouns[0], b=nouns[1])
    verb = ""
    if scene.motion:
        once, many, _ = words.MOTION_WORDS[scene.motion][0]
        verb = once if len(nouns) == 1 else f", both {many}"
    place = words.PLACE_WORDS[scene.background][0] if scene.background else ""
    return _tidy(_joined(subject, verb, place))


def forget(scene: Scene, rng: numpy.random.Generator, share: float = FORGOTTEN) -> Scene:
    """Return *scene* with each attribute left open, None, at the chance *share*: a short prompt's scene."""

    def kept(value: str | None) -> str | None:
        return None if rng.random() < share else value

    things = tuple(Thing(kept(thing.color), kept(thing.shape), kept(thing.size)) for thing in scene.things)
    return Scene(things, kept(scene.motion), kept(scene.background), kept(scene.relation))


@dataclasses.dataclass(frozen=True, slots=True)
class _Speaker:
    """Chooses words. Every draw comes from *rng*, so that a caption follows from its seed."""

    rng: numpy.random.Generator

    def caption(self, scene: Scene) -> str:
        is_bare = self._happens(_BARE)
        subject = "" if _is_blank(scene) and self._happens(_SUBJECT_DROPPED) else self._subject(scene, is_bare=is_bare)
        text = self._sentence(scene, subject, is_bare=is_bare)
        if text and self._happens(_REQUESTED):
            text = self._one_of(sentences.REQUESTS).format(text)
        text = _tidy(text)
        if self._happens(_NOISY):
            text = self._with_noise(text)
        return self._written(text)

    def _sentence(self, scene: Scene, subject: str, *, is_bare: bool) -> str:
        once, many, doing = self._one_of(words.MOTION_WORDS[scene.motion]) if scene.motion else ("", "", "")
        place, bare = self._place(scene.background)
        is_many = len(scene.things) > 1 and self._happens(0.75)
        if is_many and scene.motion:
            many, doing = (self._one_of(sentences.BOTH).format(verb=each) for each in (many, doing))
        if not subject or is_bare:
            parts = [part for part in (subject, doing, bare if is_bare else place) if part]
            return ", ".join(self._shuffled(parts))
        template = self._one_of(sentences.SENTENCES[bool(scene.motion), bool(scene.background)])
        return template.format(
            s=subject, verb=many if is_many else once, ing=doing, place=place, bare=bare, base=_base(many),
            they="they" if is_many else "it", **{"is": "are" if is_many else "is"},
        )  # fmt: skip

    def _place(self, background: str | None) -> tuple[str, str]:
        if background is None:
            return "", ""
        noun, bare = self._one_of(words.BACKGROUND_NOUNS[background])
        if self._happens(0.15):
            return self._one_of(sentences.BACKGROUND_FRAMES).format(noun=noun), bare
        return self._one_of(words.PLACE_WORDS[background]), bare

    def _subject(self, scene: Scene, *, is_bare: bool) -> str:
        if len(scene.things) == 1:
            return self._thing(scene.things[0], is_bare=is_bare)
        if scene.things[0] == scene.things[1]:
            return self._likes(scene)
        template = self._one_of(sentences.PAIR_WORDS[scene.relation])
        order = "ab" if template.index("{a}") < template.index("{b}") else "ba"
        earlier, later = scene.things if order == "ab" else scene.things[::-1]
        if earlier.shape == later.shape and earlier.color and later.color and self._happens(0.5):
            return self._twins(template, order, earlier, later)
        said = [self._thing(each, is_bare=is_bare) for each in (earlier, later)]
        return template.format(**dict(zip(order, said, strict=True)))

    def _twins(self, template: str, order: str, earlier: Thing, later: Thing) -> str:
        """Say two things of one shape: "a red ball above a blue one", "two balls, a red one above a blue one"."""
        one, many = self._kind(earlier)
        is_counted = self._happens(0.5)
        said = [
            self._determined(self._adjectives(earlier), sentences.ONE if is_counted else one),
            self._determined(self._adjectives(later), sentences.ONE),
        ]
        pair = template.format(**dict(zip(order, said, strict=True)))
        return self._one_of(sentences.TWINS).format(kind=many, pair=pair) if is_counted else pair

    def _likes(self, scene: Scene) -> str:
        """Say two things that are the same as far as is known."""
        one, other = scene.things
        if self._happens(0.3):
            said = (
                self._thing(one, is_bare=False),
                _joined(sentences.ANOTHER, self._adjectives(other), self._kind(other)[0]),
            )
            # The relation's first wording begins with the first thing.
            return sentences.PAIR_WORDS[scene.relation][0].format(a=said[0], b=said[1])
        kind = _joined(self._adjectives(one), self._kind(one)[1])
        return self._one_of(sentences.LIKES[scene.relation]).format(kind=kind)

    def _kind(self, thing: Thing) -> tuple[str, str]:
        return self._one_of(words.SHAPE_WORDS[thing.shape] if thing.shape else words.THING_WORDS)

    def _thing(self, thing: Thing, *, is_bare: bool) -> str:
        size, color = self._size(thing), self._color(thing)
        noun = self._kind(thing)[0]
        if not thing.shape and self._happens(0.4):
            return _joined(words.SOMETHING, size, color)
        if is_bare:
            return _joined(size, color, noun)
        if color and self._happens(0.06):
            frame = self._one_of(sentences.COLOR_FRAMES)
            return self._determined(size, frame.format(noun=noun, bare=noun, color=color))
        if (size or color) and self._happens(0.1):
            adjectives = f"{size} and {color}" if size and color else size or color
            return self._one_of(sentences.AFTERTHOUGHTS).format(noun=self._determined("", noun), adjectives=adjectives)
        if self._happens(0.05):
            return self._determined(_joined(color, size), noun)
        return self._determined(_joined(size, color), noun)

    def _adjectives(self, thing: Thing) -> str:
        return _joined(self._size(thing), self._color(thing))

    def _size(self, thing: Thing) -> str:
        is_said = thing.size and (thing.size != "medium" or self._happens(_MEDIUM_SAID))
        return self._one_of(words.SIZE_WORDS[thing.size]) if thing.size and is_said else ""

    def _color(self, thing: Thing) -> str:
        return self._one_of(words.COLOR_WORDS[thing.color]) if thing.color else ""

    def _determined(self, adjectives: str, noun: str) -> str:
        phrase = _joined(adjectives, noun)
        # "one one" is no English.
        article = self._one_of(sentences.ARTICLES) if sentences.ONE not in noun.split() else "a"
        return _joined(_article(article, phrase), phrase)

    def _with_noise(self, text: str) -> str:
        parts = text.split()
        if self._happens(0.3):
            run = [self._noise() for _ in range(int(self.rng.integers(2, 9)))]
            return " ".join(parts + run if self._happens(0.5) else run + parts)
        for _ in range(int(self.rng.integers(1, 4))):
            parts.insert(int(self.rng.integers(len(parts) + 1)), self._noise())
        return " ".join(parts)

    def _noise(self) -> str:
        if self._happens(0.6):
            return self._one_of(sentences.NOISE)
        letters = "".join(map(chr, self.rng.integers(ord("a"), ord("z") + 1, int(self.rng.integers(2, 9)))))
        return letters if letters not in _KNOWN else self._noise()

    def _written(self, text: str) -> str:
        if self._happens(_ENDED) and text and text[-1].isalnum():
            text += self._one_of((".", ".", "!"))
        if self._happens(_SHOUTED):
            return text.upper()
        return text[:1].upper() + text[1:] if self._happens(_CAPITALISED) else text

    def _shuffled(self, parts: Sequence[str]) -> list[str]:
        order = self.rng.permutation(len(parts)) if self._happens(0.4) else range(len(parts))
        return [parts[int(index)] for index in order]

    def _one_of(self, items: Sequence[Item]) -> Item:
        return items[int(self.rng.integers(len(items)))]

    def _happens(self, chance: float) -> bool:
        return bool(self.rng.random() < chance)


def _base(many: str) -> str:
    """Return what follows "let it": "be still" of "are still", "not move" of "do not move"."""
    return many.replace("are ", "be ").replace("do not ", "not ").replace("don't ", "not ")


def _is_blank(scene: Scene) -> bool:
    """Say whether nothing is known of the only thing: it need not be mentioned."""
    thing = scene.things[0]
    return len(scene.things) == 1 and not thing.color and not thing.shape and thing.size in {None, "medium"}


def _plain_noun(thing: Thing) -> str:
    return _joined(thing.size if thing.size != "medium" else "", thing.color, thing.shape or words.THING_WORDS[0][0])


def _article(article: str, phrase: str) -> str:
    return "an" if article == "a" and phrase.startswith(tuple("aeiou")) else article


def _joined(*parts: str | None) -> str:
    return " ".join(part for part in parts if part)


def _tidy(text: str) -> str:
    """Close the gaps before marks and drop the marks that meet another or an end."""
    text = " ".join(text.split())
    for wrong, right in ((" ,", ","), (",,", ","), (",.", "."), (",:", ":"), (",?", "?")):
        text = text.replace(wrong, right)
    return text.strip(" ,")
