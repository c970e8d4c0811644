"""Globs found by their text, so that a segment is not tried on each of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from .patterns import Glob

T = TypeVar("T")


class Globs(Generic[T]):
    """Values by their globs, which are found by the fixed text of their beginning and end."""

    __slots__ = ("_by_text", "_values")

    def __init__(self) -> None:
        self._values: dict[Glob, T] = {}
        # length and text of the beginning, then of the end
        self._by_text: dict[int, dict[str, dict[int, dict[str, list[tuple[str, Glob, T]]]]]] = {}

    def __bool__(self) -> bool:
        return bool(self._values)

    def setdefault(self, glob: Glob, value: T) -> T:
        if glob in self._values:
            return self._values[glob]
        self._values[glob] = value
        start, end = glob.parts[0], glob.parts[-1]
        ends = self._by_text.setdefault(len(start), {}).setdefault(start, {})
        ends.setdefault(len(end), {}).setdefault(end, []).append((glob.middle, glob, value))
        return value

    def matching(self, segment: str) -> Iterator[T]:
        for length, starts in self._by_text.items():
            ends = starts.get(segment[:length])
            if ends is not None:
                for size, by_end in ends.items():
                    for middle, glob, value in by_end.get(segment[len(segment) - size :], ()):
                        if middle in segment and glob.matches(segment):
                            yield value
