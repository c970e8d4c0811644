"""Patterns that float as a whole, such as `**/drafts/**`: a key is tried on all of them at once.

Each pattern is a row of bits in one number, one bit for each place in it that a key can have reached, and a segment
moves all of them by one operation (Baeza-Yates and Gonnet, "A new approach to text searching", 1992). So the work grows
with the segments of the key, and hardly with the number of patterns.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from ..caller import Caller
from .globs import Globs
from .patterns import ANY_DEPTH, Claim, Glob, Segment

T = TypeVar("T")

FEW = 8
"""Places up to which numbers are kept instead of a mask, which is as long as all patterns together."""


class _Places:
    """Bits, as a mask only where they are many."""

    __slots__ = ("_few", "_mask")

    def __init__(self) -> None:
        self._few: list[int] = []
        self._mask = 0

    def add(self, bit: int) -> None:
        self._few.append(bit)
        if len(self._few) > FEW:
            self._mask |= self._of_few()
            self._few.clear()

    def _of_few(self) -> int:
        mask = 0
        for bit in self._few:
            mask |= 1 << bit
        return mask

    @property
    def mask(self) -> int:
        return self._mask | self._of_few() if self._few else self._mask


class Floating(Generic[T]):
    """Values by their patterns.

    Attributes:
        values: pattern -> value.
    """

    def __init__(self) -> None:
        self.values: dict[tuple[Segment, ...], T] = {}
        self._at: dict[int, T] = {}  # by the bit of the end
        self._size = self._starts = self._loops = self._ends = 0
        # The bits that a segment can lead to, by what is known of it; behind a star alone, each segment leads on.
        self._any = 0
        self._literals: dict[str, _Places] = {}
        self._globs: Globs[_Places] = Globs()
        self._inside: dict[Glob, tuple[str, Glob, _Places]] = {}
        self._claims: dict[Claim, _Places] = {}

    def setdefault(self, pattern: tuple[Segment, ...], value: T) -> T:
        if pattern in self.values:
            return self.values[pattern]
        bit = self._size
        self._starts |= 1 << bit
        for segment in pattern:
            if segment == ANY_DEPTH:
                self._loops |= 1 << bit
            else:
                bit += 1
                self._lead(segment, bit)
        self._ends |= 1 << bit
        self._size = bit + 1
        self._at[bit] = self.values[pattern] = value
        return value

    def _lead(self, segment: Segment, bit: int) -> None:
        if isinstance(segment, str):
            self._literals.setdefault(segment, _Places()).add(bit)
        elif isinstance(segment, Claim):
            self._claims.setdefault(segment, _Places()).add(bit)
        elif segment.text == "*":
            self._any |= 1 << bit
        elif segment.is_found:
            self._globs.setdefault(segment, _Places()).add(bit)
        else:
            self._inside.setdefault(segment, (segment.middle, segment, _Places()))[2].add(bit)

    def matching(self, segments: Sequence[str], caller: Caller | None) -> list[T]:
        """The values of the patterns that match; without a caller, those that match for some caller."""
        state = self._starts if not segments else 0
        for state in self.states(segments, caller):  # noqa: B007 - the last one counts
            pass
        return self.reached(state)

    def mask(self, counts: Callable[[T], bool]) -> int:
        """The bits of a state in which a pattern has come to its end whose value counts."""
        return sum(1 << bit for bit, value in self._at.items() if counts(value))

    def reached(self, state: int) -> list[T]:
        """The values of the patterns whose end is reached in a state."""
        found, ends = [], state & self._ends
        while ends:
            bit = ends.bit_length() - 1
            found.append(self._at[bit])
            ends ^= 1 << bit
        return found

    def states(self, segments: Sequence[str], caller: Caller | None) -> Iterator[int]:
        """What has been reached after each segment."""
        any_, claims = self._any, []
        for claim, places in self._claims.items():
            if caller is None:
                any_ |= places.mask
            elif caller.segments(claim.name, claim.digest):
                claims.append((caller.segments(claim.name, claim.digest), places.mask))
        inside = self._by_text_inside(segments) if self._inside else ()
        state, loops, literals = self._starts, self._loops, self._literals
        for number, segment in enumerate(segments):
            leads = any_
            places_ = literals.get(segment)
            if places_ is not None:
                leads |= places_.mask
            if self._globs:
                for found in self._globs.matching(segment):
                    leads |= found.mask
            for values, mask in claims:
                if segment in values:
                    leads |= mask
            if inside:
                leads |= inside[number]
            state = (state << 1) & leads | state & loops
            yield state

    def _by_text_inside(self, segments: Sequence[str]) -> list[int]:
        """For each segment the bits of globs such as `*draft*`, whose texts are looked for in the whole key at once."""
        key = "/".join(segments)
        begins = [0, *accumulate(len(segment) + 1 for segment in segments)]
        found = [0] * len(segments)
        for text, glob, places in self._inside.values():
            position = key.find(text)
            if position < 0:
                continue
            mask, is_text_all = places.mask, glob.text == f"*{text}*"
            while position >= 0:
                number = bisect(begins, position) - 1
                if is_text_all or glob.matches(segments[number]):
                    found[number] |= mask
                position = key.find(text, begins[number + 1])
        return found
