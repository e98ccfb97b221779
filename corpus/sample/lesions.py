"""Draws one photograph of skin with lesions, from a seed, in about ten milliseconds at 600 x 450.

Everything but the fine skin texture is composed at half resolution as optical absorbance (melanin, blood, blue) over a
base colour, which is what makes redness look right on dark skin without special cases. Uneven light, mottling, folds,
limbs, cloth, hair and rulers are there for a second reason: they fill the low frequencies a perceptual hash reads, so
that no two photographs come near each other by accident. Speed is paid for with soft detail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw

from corpus.sample.looks import Look, look_of
from corpus.sample.textures import Plane, Rng, grain, network, skin_texture, smooth_noise

View = Literal["dermoscopic", "clinical", "atlas"]

#: Base colour (sRGB) of skin for the Fitzpatrick tones 1 to 6.
SKIN = ((246, 214, 198), (233, 190, 164), (208, 158, 124), (172, 120, 86), (126, 83, 57), (84, 56, 42))
_CLOTHS = ((38, 82, 128), (32, 34, 40), (226, 224, 216), (58, 104, 86), (116, 84, 58), (88, 90, 98), (150, 40, 52))
# Absorbance per unit of pigment in red, green and blue.
_MELANIN = (0.55, 0.95, 1.3)
_BLOOD = (0.1, 0.78, 0.62)
_BLUE = (1.1, 0.7, 0.25)
# How large a look's radius is drawn, and how many of its lesions fit, in each view.
_ZOOM: dict[View, float] = {"dermoscopic": 1.15, "clinical": 0.7, "atlas": 0.85}


@dataclass
class _Canvas:
    """Half-resolution planes (height, width): pigments to lay down, noise fields to shape them, coordinates."""

    melanin: Plane
    blood: Plane
    blue: Plane
    white: Plane
    crust: Plane
    coarse: Plane
    middle: Plane
    fine: Plane
    grain: Plane
    network: Plane
    x: Plane
    y: Plane
    light: Plane = field(init=False)

    def __post_init__(self) -> None:
        self.light = np.ones_like(self.melanin)


def draw_photograph(label: str, view: View, tone: int, size: tuple[int, int], rng: Rng) -> Image.Image:
    """A photograph (YCbCr, ``size`` = width, height in pixels) of ``label`` on skin of Fitzpatrick ``tone`` 1 to 6."""
    width, height = size
    look = look_of(label)
    canvas = _blank(-(-width // 2), -(-height // 2), rng)
    _mottle(canvas, view, rng)
    _lay_lesions(canvas, look, view, rng)
    _light(canvas, view, rng)
    planes = _colour(canvas, view, tone, rng)
    if view == "dermoscopic":
        _scope(planes, canvas, rng)
    else:
        _background(planes, canvas, rng)
    bands = [Image.fromarray(np.clip(plane, 0, 255).astype(np.uint8)) for plane in planes]
    picture = Image.merge("RGB", bands)
    _overlay(picture, view, tone, rng)
    return _enlarged(picture, size, rng)


def _blank(width: int, height: int, rng: Rng) -> _Canvas:
    def zero() -> Plane:
        return np.zeros((height, width), np.float32)

    coarse, middle, fine = (smooth_noise(rng, width, height, cells) for cells in (5, 10, 20))
    mesh, specks, short = network(rng, width, height), grain(rng, width, height), np.float32(min(width, height))
    x = (np.arange(width, dtype=np.float32) - np.float32(width / 2))[None, :] / short
    y = (np.arange(height, dtype=np.float32) - np.float32(height / 2))[:, None] / short
    return _Canvas(zero(), zero(), zero(), zero(), zero(), coarse, middle, fine, specks, mesh, x, y)


def _mottle(canvas: _Canvas, view: View, rng: Rng) -> None:
    """Uneven pigment and redness, freckles."""
    strength = rng.uniform(0.7, 1.5)
    pigment = 0.035 * canvas.coarse + 0.04 * canvas.middle + 0.04 * canvas.fine
    flush = 0.045 * canvas.coarse[::-1] + 0.045 * canvas.middle[:, ::-1] + 0.03 * canvas.fine[::-1]
    canvas.melanin += np.maximum(strength * pigment, -0.1)
    canvas.blood += np.maximum(strength * flush, -0.05) + (0.1 if view == "dermoscopic" else 0.03)
    if rng.random() < 0.4:
        canvas.melanin += 0.35 * np.clip(canvas.grain - rng.uniform(1.3, 2.0), 0, 1)


def _lay_lesions(canvas: _Canvas, look: Look, view: View, rng: Rng) -> None:
    many = int(rng.integers(look.count[0], look.count[1] + 1))
    half_width, half_height = float(-canvas.x[0, 0]), float(-canvas.y[0, 0])
    spread = 0.5 if many == 1 else 0.9
    for _ in range(many):
        radius = rng.uniform(*look.radius) * _ZOOM[view] * rng.uniform(0.85, 1.15)
        centre = rng.uniform(-1, 1, 2) * (half_width * spread, half_height * spread)
        if look.shape == "track":
            _track(canvas, look, centre, radius, rng)
        else:
            _stamp(canvas, look, centre, radius, rng)
    for _ in range(int(rng.integers(0, 5))):  # what else the skin carries
        centre = rng.uniform(-1, 1, 2) * (half_width, half_height)
        _stamp(canvas, _MOLE, centre, rng.uniform(0.012, 0.05), rng)


_MOLE = Look(irregular=0.2, soft=0.4, melanin=(0.15, 0.8), blood=(0.0, 0.4))


def _track(canvas: _Canvas, look: Look, centre: npt.NDArray[np.float64], radius: float, rng: Rng) -> None:
    """A serpiginous line: overlapping small stamps along a wandering path."""
    heading, position = rng.uniform(0, 2 * math.pi), centre.copy()
    for _ in range(22):
        heading += rng.normal(0, 0.5)
        position += radius * 1.3 * np.array([math.cos(heading), math.sin(heading)])
        _stamp(canvas, look, position, radius, rng)


def _box(canvas: _Canvas, centre: npt.NDArray[np.float64], reach: float) -> tuple[slice, slice]:
    height, width = canvas.melanin.shape
    short = min(height, width)
    column, row, extent = centre[0] * short + width / 2, centre[1] * short + height / 2, reach * short
    return (
        slice(max(0, int(row - extent)), max(0, min(height, int(row + extent) + 2))),
        slice(max(0, int(column - extent)), max(0, min(width, int(column + extent) + 2))),
    )


def _ramp(value: Plane) -> Plane:
    """Smooth step from 0 at 0 to 1 at 1."""
    value = np.clip(value, 0, 1)
    return value * value * (3 - 2 * value)


def _stamp(canvas: _Canvas, look: Look, centre: npt.NDArray[np.float64], radius: float, rng: Rng) -> None:
    """Lay one lesion down within its bounding box."""
    turn, aspect = rng.uniform(0, math.pi), rng.uniform(1.0, 1.45)
    box = _box(canvas, centre, radius * aspect * (1.15 + 1.5 * look.irregular + look.soft))
    melanin, blood = rng.uniform(*look.melanin), rng.uniform(*look.blood)
    if box[0].start >= box[0].stop or box[1].start >= box[1].stop:
        return
    x, y = canvas.x[:, box[1]] - np.float32(centre[0]), canvas.y[box[0]] - np.float32(centre[1])
    cos, sin = np.float32(math.cos(turn) / radius), np.float32(math.sin(turn) / radius)
    u, v = (x * cos + y * sin) / np.float32(aspect), y * cos - x * sin
    wander = 0.6 * canvas.middle[box] + 0.4 * canvas.fine[box]
    distance = np.sqrt(u * u + v * v) + np.float32(look.irregular * 0.6) * wander
    mask = _ramp((1 - distance) / np.float32(look.soft) + np.float32(0.5))
    body = mask * (1 + np.float32(0.22) * canvas.grain[box])
    if look.network:
        body *= 1 + np.float32(look.network * rng.uniform(0.5, 1.2)) * canvas.network[box]
    core = _ramp((np.float32(rng.uniform(0.45, 0.75)) - distance) * 3)
    inner = _centre(canvas, look, box, core * mask, rng)
    if melanin < 0:
        canvas.white[box] -= np.float32(melanin) * mask * (1 + np.float32(0.15) * canvas.fine[box])
    else:
        canvas.melanin[box] += np.float32(melanin) * body * inner
    canvas.blood[box] += np.float32(blood) * body * inner
    if look.blue:
        patch = np.clip(canvas.coarse[box] * np.float32(0.9) + np.float32(rng.uniform(-0.3, 0.6)), 0, 1)
        canvas.blue[box] += np.float32(look.blue) * mask * patch
    if look.scale or look.crust:
        flakes = _ramp(0.3 * canvas.grain[box] + 0.5 * canvas.network[box] + 0.35 * canvas.fine[box] + 0.3) * mask
        canvas.white[box] += np.float32(look.scale * rng.uniform(0.4, 1.0)) * flakes
        lumps = core * np.clip(canvas.fine[box] + 0.3, 0, 1)
        canvas.crust[box] += np.float32(look.crust * rng.uniform(0.3, 1.2)) * lumps


def _centre(canvas: _Canvas, look: Look, box: tuple[slice, slice], core: Plane, rng: Rng) -> Plane | float:
    """What the middle of a lesion does to its pigment (a factor), and what it lays down besides."""
    if look.centre == "clear":
        return 1 - np.float32(0.85) * core
    if look.centre == "dark":
        return 1 + np.float32(rng.uniform(0.2, 0.9)) * core
    if look.centre == "pale":
        canvas.white[box] += np.float32(rng.uniform(0.2, 0.5)) * core
        return 1 - np.float32(0.5) * core
    if look.centre == "ulcer":
        canvas.blood[box] += np.float32(rng.uniform(0.4, 1.2)) * core
        canvas.melanin[box] += np.float32(rng.uniform(0.0, 0.6)) * core
    elif look.centre == "pearl":
        canvas.white[box] += np.float32(rng.uniform(0.1, 0.4)) * core * np.clip(canvas.fine[box], 0, 1)
        vessels = np.clip(1 - np.abs(canvas.fine[box] + 0.5 * canvas.grain[box]) * 5, 0, 1)
        canvas.blood[box] += np.float32(rng.uniform(0.3, 0.9)) * core * vessels
    return 1.0


def _light(canvas: _Canvas, view: View, rng: Rng) -> None:
    """Uneven illumination, as a factor."""
    angle, slope = rng.uniform(0, 2 * math.pi), rng.uniform(0.05, 0.3)
    canvas.light *= np.float32(rng.uniform(0.78, 0.98))
    canvas.light += np.float32(slope * math.cos(angle)) * canvas.x + np.float32(slope * math.sin(angle)) * canvas.y
    canvas.light += np.float32(rng.uniform(0.03, 0.08)) * canvas.coarse[:, ::-1]
    uneven = np.float32(1.4 if view == "dermoscopic" else 1.0)
    canvas.light += uneven * (0.03 * canvas.middle[::-1, ::-1] + 0.025 * canvas.fine[::-1, ::-1])


def _lines(canvas: _Canvas, rng: Rng) -> tuple[Plane, Plane]:
    """Coordinates along and across a random direction."""
    angle = rng.uniform(0, math.pi)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return canvas.x * cos + canvas.y * sin, canvas.y * cos - canvas.x * sin


def _creases(canvas: _Canvas, rng: Rng) -> Plane:
    """Skin folds, as a factor of light."""
    shade = np.ones_like(canvas.light)
    for _ in range(int(rng.integers(0, 3))):
        along, across = _lines(canvas, rng)
        bend, width = np.float32(rng.uniform(-0.5, 0.5)), np.float32(rng.uniform(0.008, 0.05))
        gap = (across - np.float32(rng.uniform(-0.6, 0.6)) + bend * along * along + 0.02 * canvas.middle) / width
        shade *= 1 - np.float32(rng.uniform(0.08, 0.3)) / (1 + gap * gap)
    return shade


def _colour(canvas: _Canvas, view: View, tone: int, rng: Rng) -> Plane:
    """Pigments and light to colour planes (3, height, width), 0 to 255."""
    tint = np.exp(np.clip(rng.normal(0, 0.035, 3) + rng.normal(0, 0.05), -0.2, 0.06))
    if view == "dermoscopic":
        tint *= rng.choice([(1.02, 0.96, 1.0), (1.0, 0.9, 0.98), (1.0, 0.93, 0.84), (0.95, 0.97, 1.06)])
    light = canvas.light if view == "dermoscopic" else canvas.light * _creases(canvas, rng)
    white, crust = np.clip(canvas.white, 0, 0.85), np.clip(canvas.crust, 0, 0.8)
    planes = np.empty((3, *light.shape), np.float32)
    for channel in range(3):
        absorbed = canvas.melanin * np.float32(_MELANIN[channel]) + canvas.blood * np.float32(_BLOOD[channel])
        absorbed += canvas.blue * np.float32(_BLUE[channel])
        plane = np.exp(-absorbed) * np.float32(SKIN[tone - 1][channel])
        plane += white * (np.float32((232, 222, 210)[channel]) - plane)
        plane += crust * (np.float32((168, 118, 52)[channel]) - plane)
        np.multiply(plane, light * np.float32(tint[channel]), out=planes[channel])
    return planes


def _background(planes: Plane, canvas: _Canvas, rng: Rng) -> None:
    """A limb before a cloth, a body's edge, or skin all over; in place."""
    kind = rng.random()
    if kind < 0.35:
        return
    along, across = _lines(canvas, rng)
    across = across + np.float32(rng.uniform(-0.25, 0.25)) * along * along + np.float32(rng.uniform(-0.12, 0.12))
    across += np.float32(0.015) * canvas.middle
    if kind < 0.7:
        inside = np.float32(rng.uniform(0.3, 0.5)) - np.abs(across)
    else:
        inside = np.float32(rng.uniform(0.15, 0.5)) - across
    blur = np.float32(rng.uniform(0.008, 0.05))
    skin = _ramp(inside / blur + np.float32(0.5))
    rounding = 1 - np.float32(rng.uniform(0.1, 0.45)) * np.exp(np.maximum(inside, 0) / np.float32(-0.09))
    cloth = np.array(_CLOTHS[int(rng.integers(len(_CLOTHS)))], np.float32) * np.float32(rng.uniform(0.7, 1.1))
    folds = 1 + np.float32(rng.uniform(0.06, 0.2)) * (canvas.middle[:, ::-1] + np.float32(0.6) * canvas.fine)
    behind = np.clip(folds * canvas.light, 0.2, 1.4) * (1 - skin)
    planes *= rounding * skin
    for channel in range(3):
        planes[channel] += cloth[channel] * behind


def _scope(planes: Plane, canvas: _Canvas, rng: Rng) -> None:
    """The dermoscope: a dark circle round the field, or darkened corners; in place."""
    shift = rng.uniform(-0.2, 0.2, 2).astype(np.float32)
    from_centre = np.sqrt((canvas.x - shift[0]) ** 2 + (canvas.y - shift[1]) ** 2)
    factor = 1 - np.float32(rng.uniform(0.1, 0.6)) * np.clip(from_centre - np.float32(0.35), 0, 1) ** 2
    if rng.random() < 0.25:
        # Softer and less round than a real one: a crisp circle fixes so many bits of a perceptual hash that unrelated
        # pictures come near each other.
        edge, blur, floor = rng.uniform(0.58, 0.85), rng.uniform(0.14, 0.32), np.float32(rng.uniform(0.06, 0.3))
        from_centre = from_centre + np.float32(0.012) * canvas.coarse + np.float32(0.012) * canvas.middle
        factor *= floor + (1 - floor) * _ramp((np.float32(edge) - from_centre) / np.float32(blur) + np.float32(0.5))
    planes *= factor


def _overlay(picture: Image.Image, view: View, tone: int, rng: Rng) -> None:
    """Hair, gel bubbles, rulers and pen marks, drawn at half resolution so that enlarging smooths them."""
    pen = ImageDraw.Draw(picture)
    width, height = picture.size
    dark = tuple(int(v) for v in np.array((52, 36, 28)) * rng.uniform(0.4, 1.9 if tone < 4 else 0.9))
    hairs = int(rng.integers(3, 34)) if rng.random() < 0.45 else int(rng.integers(0, 3))
    lie = rng.uniform(0, math.pi)
    for _ in range(hairs):
        _hair(pen, width, height, lie, dark, rng)
    if view == "dermoscopic":
        for _ in range(int(rng.integers(0, 5))):
            x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.4, 1.6)
            pen.ellipse((x - r, y - r, x + r, y + r), fill=(236, 230, 234))
    if rng.random() < (0.15 if view == "dermoscopic" else 0.3):
        _ruler(pen, width, height, paper=view != "dermoscopic", rng=rng)
    if view == "clinical" and rng.random() < 0.2:
        x, y = rng.uniform(0.25, 0.75) * width, rng.uniform(0.25, 0.75) * height
        a, b = rng.uniform(0.12, 0.35, 2) * height
        start = float(rng.uniform(0, 360))
        pen.arc((x - a, y - b, x + a, y + b), start, start + float(rng.uniform(150, 340)), fill=(82, 62, 142), width=2)


def _hair(pen: ImageDraw.ImageDraw, width: int, height: int, lie: float, dark: tuple[int, ...], rng: Rng) -> None:
    angle, length, bend = lie + rng.normal(0, 0.45), rng.uniform(0.15, 0.7) * height, rng.normal(0, 0.25)
    x0, y0 = rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.1) * height
    steps = np.linspace(0, 1, 9)
    along, aside = steps * length, bend * length * steps * (1 - steps) * 2
    x = x0 + along * math.cos(angle) - aside * math.sin(angle)
    y = y0 + along * math.sin(angle) + aside * math.cos(angle)
    pen.line([*zip(x.tolist(), y.tolist(), strict=True)], fill=dark, width=1)


def _ruler(pen: ImageDraw.ImageDraw, width: int, height: int, *, paper: bool, rng: Rng) -> None:
    """A scale across the picture near one side: a paper strip with ticks, or the dermoscope's bare ticks."""
    angle = rng.choice([0.0, math.pi / 2]) + rng.normal(0, 0.12)
    away = np.array([-math.sin(angle), math.cos(angle)]) * rng.choice([-1, 1]) * rng.uniform(0.32, 0.46)
    middle = np.array([width / 2, height / 2]) + away * (width, height)
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    reach, deep = max(width, height), rng.uniform(0.05, 0.11) * height
    if paper:
        corners = [middle - reach * along, middle + reach * along]
        shape = [*corners, corners[1] + deep * across, corners[0] + deep * across]
        white = tuple(int(v) for v in rng.uniform(205, 240) + rng.uniform(-9, 9, 3))
        pen.polygon([tuple(p) for p in shape], fill=white)
    gap = rng.uniform(5, 12)
    for k in range(int(-reach / gap), int(reach / gap)):
        root = middle + k * gap * along
        tip = root + across * deep * (0.7 if k % 5 == 0 else 0.4)
        pen.line([tuple(root), tuple(tip)], fill=(28, 28, 34), width=1)


def _enlarged(picture: Image.Image, size: tuple[int, int], rng: Rng) -> Image.Image:
    """Twice the size, with skin lines and sensor noise in the luma; chroma stays coarse, as JPEG stores it anyway."""
    luma, blue, red = picture.convert("YCbCr").split()
    luma = ImageChops.add(luma.resize(size, Image.Resampling.BICUBIC), skin_texture(rng, *size), 1.0, -128)
    chroma = [band.resize(size, Image.Resampling.NEAREST) for band in (blue, red)]
    return Image.merge("YCbCr", (luma, *chroma))
