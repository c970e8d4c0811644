"""Pictures drawn by arithmetic and encoded as PNG with zlib alone: something to look at, made in milliseconds.

A picture is kept as three colour planes, column by column, so that what a landscape is made of (skies, ridges,
water) is a handful of slice assignments for each column instead of work for each pixel.
"""

from __future__ import annotations

import math
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

WIDTH, HEIGHT = 640, 420
GLOW_STEPS = 24

Colour: TypeAlias = tuple[int, int, int]
Ramp: TypeAlias = tuple[bytes, bytes, bytes]
"""A colour for every row, one plane each."""


def rgb(text: str) -> Colour:
    """The colour that six hex digits name."""
    red, green, blue = bytes.fromhex(text)
    return red, green, blue


def ramp(*stops: str, start: int = 0, stop: int = HEIGHT) -> Ramp:
    """Colours that go evenly from the first stop at row `start` to the last at row `stop`."""
    colours = [rgb(text) for text in stops]
    rows = []
    for y in range(HEIGHT):
        place = min(max((y - start) / (stop - start), 0.0), 1.0) * (len(colours) - 1)
        index = min(int(place), len(colours) - 2)
        part = place - index
        below, above = colours[index], colours[index + 1]
        rows.append([round(a + (b - a) * part) for a, b in zip(below, above, strict=True)])
    red, green, blue = (bytes(plane) for plane in zip(*rows, strict=True))
    return red, green, blue


@lru_cache(maxsize=4096)
def _veil(value: int, percent: int) -> bytes:
    """Translation table that covers any byte with `value`, so many percent opaque."""
    return bytes((old * (100 - percent) + value * percent) // 100 for old in range(256))


class Picture:
    """640 x 420 pixels; y grows downwards.

    Args:
        background: the colour of every row.
    """

    def __init__(self, background: Ramp) -> None:
        self.planes = [bytearray(plane * WIDTH) for plane in background]

    def span(self, x: int, top: float, bottom: float, fill: Ramp) -> None:
        """Paint a piece of one column; its ends are smoothed."""
        if not 0 <= x < WIDTH:
            return
        top, bottom = max(top, 0.0), min(bottom, float(HEIGHT))
        first, last, base = math.ceil(top), math.floor(bottom), x * HEIGHT
        if first < last:
            for plane, colours in zip(self.planes, fill, strict=True):
                plane[base + first : base + last] = colours[first:last]
        for y, part in ((first - 1, first - top), (last, bottom - last)):
            if part > 0.01 and 0 <= y < HEIGHT and first <= last:
                for plane, colours in zip(self.planes, fill, strict=True):
                    plane[base + y] = _veil(colours[y], int(part * 100))[plane[base + y]]

    def veil(self, x: int, top: float, bottom: float, colour: Colour, percent: int) -> None:
        """Cover a piece of one column with a colour that lets some of what is there shine through."""
        if not 0 <= x < WIDTH:
            return
        piece = slice(x * HEIGHT + max(int(top), 0), x * HEIGHT + min(max(int(bottom), 0), HEIGHT))
        for plane, value in zip(self.planes, colour, strict=True):
            plane[piece] = plane[piece].translate(_veil(value, percent))

    def below(self, edge: Callable[[int], float], fill: Ramp) -> None:
        """Paint everything below a line."""
        for x in range(WIDTH):
            self.span(x, edge(x), HEIGHT, fill)

    def disc(self, centre: tuple[float, float], radius: float, fill: Ramp) -> None:
        for x in range(math.floor(centre[0] - radius), math.ceil(centre[0] + radius) + 1):
            half = math.sqrt(max(radius**2 - (x - centre[0]) ** 2, 0.0))
            if half:
                self.span(x, centre[1] - half, centre[1] + half, fill)

    def glow(self, centre: tuple[float, float], radius: float, colour: Colour, percent: int = 3) -> None:
        """Light around a point: discs over discs, each a little larger."""
        for step in range(GLOW_STEPS):
            reach = radius * (1 - step / GLOW_STEPS)
            for x in range(math.floor(centre[0] - reach), math.ceil(centre[0] + reach) + 1):
                half = math.sqrt(max(reach**2 - (x - centre[0]) ** 2, 0.0))
                self.veil(x, centre[1] - half, centre[1] + half, colour, percent)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Ramp) -> None:
        for x in range(int(left), int(right)):
            self.span(x, top, bottom, fill)

    def line(self, points: Sequence[tuple[float, float]], width: float, fill: Ramp) -> None:
        """Join points, left to right, by strokes that are not quite vertical."""
        for (x0, y0), (x1, y1) in pairwise(points):
            slope = (y1 - y0) / ((x1 - x0) or 1.0)
            half = width / 2 * math.sqrt(1 + slope**2)
            for x in range(round(x0), round(x1) + 1):
                y = y0 + slope * (x - x0)
                self.span(x, y - half, y + half, fill)

    def mirror(self, horizon: int, colour: Colour, percent: int) -> None:
        """Make water below the horizon: what is above, upside down, under a veil."""
        for x in range(WIDTH):
            base = x * HEIGHT
            for plane in self.planes:
                above = plane[base + 2 * horizon - HEIGHT : base + horizon]
                plane[base + horizon : base + HEIGHT] = above[::-1]
            self.veil(x, horizon, HEIGHT, colour, percent)

    def png(self) -> bytes:
        """Encode (PNG, Third Edition: signature, IHDR, IDAT, IEND; colour type 2, no filter)."""
        rows = bytearray()
        row = bytearray(3 * WIDTH)
        for y in range(HEIGHT):
            for channel, plane in enumerate(self.planes):
                row[channel::3] = plane[y::HEIGHT]
            rows += b"\0" + row
        header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows), 6)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )


def flat(colour: str) -> Ramp:
    """One colour for every row."""
    return ramp(colour, colour)


def ridge(seed: int, height: float, swing: float, waves: int = 6) -> Callable[[int], float]:
    """The outline of hills: a few waves of random phase, the shorter the flatter; few of them make dunes."""
    chance = random.Random(seed)  # noqa: S311 - the same hills every time
    parts = [(chance.uniform(0.6, 1.4) * 2**n, chance.uniform(0, math.tau), swing / 1.9**n) for n in range(waves)]

    def outline(x: int) -> float:
        return height - sum(size * math.sin(x / WIDTH * math.tau * speed + phase) for speed, phase, size in parts)

    return outline


def _stars(picture: Picture, seed: int, count: int, floor: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same sky every time
    for _ in range(count):
        x, y = chance.randrange(WIDTH), chance.randrange(floor)
        picture.veil(x, y, y + 1, (255, 250, 235), chance.randrange(25, 95))
        if chance.random() < 0.06:
            picture.disc((x, y), 1.5, flat("fff8e7"))


def _spruces(picture: Picture, seed: int, ground: Callable[[int], float], fill: Ramp) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same wood every time
    x = -10
    while x < WIDTH + 10:
        tall = chance.uniform(34, 88)
        foot = ground(x)
        for offset in range(-int(tall / 4), int(tall / 4) + 1):
            share = abs(offset) / (tall / 4)
            tooth = 3.0 * (abs(offset) % 5)
            picture.span(x + offset, foot - tall * (1 - share) - tooth * share, foot + 30, fill)
        x += chance.randrange(14, 46)


def _sail(picture: Picture, x: float, foot: float, size: float, fill: Ramp) -> None:
    for offset in range(int(size * 0.55)):
        picture.span(round(x + 2 + offset), foot - size + offset * 1.75, foot - 4, fill)
    for offset in range(int(size * 0.34)):
        picture.span(round(x - 1 - offset), foot - size * 0.86 + offset * 2.3, foot - 4, fill)
    hull = flat("3a2a3d")
    for offset in range(int(-size * 0.5), int(size * 0.6)):
        picture.span(round(x + offset), foot - 3, foot + size * 0.11 * (1 - (offset / (size * 0.6)) ** 4), hull)


def harbour() -> bytes:
    """Boats before sunrise, and the water that mirrors them."""
    horizon = 268
    picture = Picture(ramp("4a5f8f", "8d86ae", "e7a7a0", "ffcf9f", "ffe3b3", stop=horizon))
    picture.glow((436, 214), 170, rgb("fff0c4"))
    picture.disc((436, 214), 34, ramp("fff9e3", "ffe2a0", start=180, stop=248))
    picture.below(ridge(11, 214, 26), ramp("a58aa6", "d9a9a4", start=180, stop=horizon))
    picture.below(ridge(5, 243, 20), ramp("6f6a93", "a98ba0", start=210, stop=horizon))
    for x, size in ((128, 112), (226, 62), (560, 78)):
        _sail(picture, x, horizon - size * 0.1, size, ramp("fff7ea", "f3d9c4", start=150, stop=horizon))
    picture.mirror(horizon, rgb("33476f"), 34)
    for y in range(horizon + 4, HEIGHT, 7):
        wide = 10 + (y - horizon) * 0.42
        for x in range(round(436 - wide), round(436 + wide)):
            picture.veil(x, y, y + 2, rgb("fff0c8"), 46)
    return picture.png()


def dusk() -> bytes:
    """A moon over spruces."""
    picture = Picture(ramp("0d1533", "243063", "59508a", "b0708f", "f0a58b", stop=360))
    _stars(picture, 3, 420, 230)
    picture.glow((470, 104), 150, rgb("dfe4ff"), 2)
    picture.disc((470, 104), 38, ramp("fdfbf0", "e8dfc8", start=66, stop=142))
    for centre, radius in (((458, 94), 8), ((482, 116), 6), ((478, 88), 4)):
        picture.disc(centre, radius, flat("ddd3bd"))
    picture.below(ridge(21, 300, 34), ramp("4f4679", "a0688b", start=250, stop=HEIGHT))
    picture.below(ridge(22, 334, 28), ramp("332f5c", "6d4c78", start=290, stop=HEIGHT))
    ground = ridge(23, 372, 14)
    _spruces(picture, 8, ground, ramp("151733", "0b0d20", start=280, stop=HEIGHT))
    picture.below(ground, ramp("12142c", "080a18", start=350, stop=HEIGHT))
    return picture.png()


def lights() -> bytes:
    """Northern lights above a lake."""
    horizon = 306
    picture = Picture(ramp("050b1e", "0a1b36", "12324a", "1f5058", stop=horizon))
    _stars(picture, 9, 460, 260)
    for seed, height, colour in ((41, 186, "58f0b0"), (42, 146, "59d8d0"), (43, 112, "a07cf0")):
        curtain, strength = ridge(seed, height, 34, 3), ridge(seed + 50, 0, 0.5)
        for x in range(WIDTH):
            foot, light = curtain(x), 5 + 4 * strength(x) + 1.5 * math.sin(x / 3.1)
            for step in range(9):
                picture.veil(x, foot - 16 * (9 - step), foot, rgb(colour), max(int(light), 1))
    picture.below(ridge(47, 286, 24), ramp("0b2231", "10303c", start=240, stop=horizon))
    picture.mirror(horizon, rgb("04101f"), 40)
    picture.below(ridge(49, 408, 12), flat("030912"))
    return picture.png()


def dunes() -> bytes:
    """A desert at noon."""
    picture = Picture(ramp("3f8fc4", "8cc3dd", "f4e3c3", stop=260))
    picture.glow((150, 92), 130, rgb("fff6da"))
    picture.disc((150, 92), 30, flat("fffbea"))
    layers = ((61, 244, 22, "e9c48d", "d9a76b"), (62, 286, 30, "dfae6c", "c98c4c"), (63, 342, 34, "cf9450", "9d6235"))
    for seed, height, swing, light, dark in layers:
        crest = ridge(seed, height, swing, 2)
        picture.below(crest, ramp(light, dark, start=height - 50, stop=HEIGHT))
        for x in range(WIDTH):
            fall = crest(x + 1) - crest(x)
            if fall > 0:  # the side away from the sun
                for step in range(1, 7):
                    picture.veil(x, crest(x), crest(x) + fall * 26 * step, rgb("6b3a2a"), 7)
    return picture.png()


def eclipse() -> bytes:
    """The sun behind the moon."""
    picture = Picture(ramp("03050d", "0a0f22", "141a33"))
    _stars(picture, 77, 300, HEIGHT)
    picture.glow((320, 200), 200, rgb("8aa4ff"), 2)
    picture.glow((320, 200), 134, rgb("fff4d6"), 5)
    picture.disc((320, 200), 88, flat("05060c"))
    picture.disc((386, 143), 7, flat("fffdf4"))
    picture.glow((386, 143), 26, rgb("ffffff"), 6)
    return picture.png()


def lanterns() -> bytes:
    """Somebody's experiment with circles."""
    picture = Picture(ramp("2b1b4d", "6b2d6b", "c8506a", "f6a15b"))
    chance = random.Random(5)  # noqa: S311 - the same circles every time
    for _ in range(46):
        centre = (chance.uniform(0, WIDTH), chance.uniform(0, HEIGHT))
        radius, colour = chance.uniform(12, 74), rgb(chance.choice(("ffd27a", "ff8f70", "ffe9c9", "f06292", "7fd1c7")))
        for reach, percent in ((radius, 16), (radius * 0.62, 22), (radius * 0.3, 34)):
            for x in range(math.floor(centre[0] - reach), math.ceil(centre[0] + reach)):
                half = math.sqrt(max(reach**2 - (x - centre[0]) ** 2, 0.0))
                picture.veil(x, centre[1] - half, centre[1] + half, colour, percent)
    return picture.png()


def _sheet() -> Picture:
    """Paper with a grid, for charts."""
    picture = Picture(flat("fbf8f2"))
    for y in range(60, 361, 60):
        picture.box(56, y, 604, y + 1, flat("e2dbcd"))
    picture.box(56, 360, 604, 362, flat("8b8377"))
    return picture


def bars() -> bytes:
    """Marks of a term, two bars for each test."""
    picture = _sheet()
    for place, (before, after) in enumerate(((148, 190), (172, 214), (120, 208), (226, 252), (190, 268), (238, 286))):
        left = 76 + place * 88
        for offset, tall, colours in ((0, before, ("9fb6d8", "7f9cc8")), (32, after, ("d9694f", "b8452f"))):
            picture.box(left + offset, 360 - tall, left + offset + 28, 360, ramp(*colours, start=360 - tall, stop=360))
    return picture.png()


def curve() -> bytes:
    """How clear the sky was, night by night."""
    picture = _sheet()
    outline = ridge(91, 210, 52)
    points = [(x, outline(x)) for x in range(56, 605, 4)]
    for x in range(56, 604):
        picture.veil(x, outline(x), 360, rgb("2f8f83"), 22)
    picture.line(points, 4, flat("1f7a6f"))
    for x, y in points[6::18]:
        picture.disc((x, y), 7, flat("fbf8f2"))
        picture.disc((x, y), 5, flat("d9694f"))
    return picture.png()


def constellation() -> bytes:
    """The Plough, as on a star chart."""
    picture = Picture(ramp("0c1a3a", "122650", "0c1a3a"))
    for radius in (300, 240, 180, 120, 60):
        picture.disc((320, 460), radius + 80, flat("1a3263"))
        picture.disc((320, 460), radius + 78, ramp("0e1d41", "132853"))
    _stars(picture, 31, 260, HEIGHT)
    stars = [
        (92.0, 118.0),
        (196.0, 128.0),
        (276.0, 172.0),
        (352.0, 206.0),
        (372.0, 292.0),
        (504.0, 306.0),
        (540.0, 196.0),
    ]
    picture.line(stars, 2, flat("7f9be0"))
    picture.line((stars[3], stars[6]), 2, flat("7f9be0"))
    for star in stars:
        picture.glow(star, 22, rgb("cfe0ff"), 7)
        picture.disc(star, 5, flat("ffffff"))
    return picture.png()
