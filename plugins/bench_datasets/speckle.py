"""Ultrasound-like images of layered tissue with a lesion, as uint8 arrays.

An image is an echo map in decibels (layers, texture, lesion, what the lesion does to the echoes behind it)
plus fully developed speckle: the power of complex noise blurred by a point-spread function, averaged over
a few looks, in decibels. Coordinates are lateral x and depth y, both from 0 to 1.

The same numbers come out everywhere: randomness is taken raw from PCG64, whose stream numpy keeps for good,
and all arithmetic is elementwise, so that platforms differ by less than the rounding to 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.float64]

LOOKS = 3  # independent speckle patterns averaged, as in spatial compounding
DYNAMIC_RANGE = 48.0  # decibels from black to white


class Random:
    """Uniform numbers from the raw stream of PCG64."""

    def __init__(self, seed: tuple[int, ...]) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed))

    def unit(self) -> float:
        """Uniform in [0, 1)."""
        return (int(self._bits.random_raw()) >> 11) * 2.0**-53

    def noise(self, *shape: int) -> NDArray[np.float32]:
        """Uniform in [-0.5, 0.5) with 16 bits each, four from one raw number; float32 is exact here."""
        count = int(np.prod(shape))
        raw = self._bits.random_raw(-(-count // 4)).astype("<u8").view("<u2")[:count]
        return (raw.astype(np.float32) - np.float32(2**15)).reshape(shape) * np.float32(2.0**-16)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def bell(self, mean: float, spread: float) -> float:
        """Nearly normal: the sum of four uniform numbers."""
        return mean + spread * (sum(self.unit() for _ in range(4)) - 2.0) * 3**0.5


@dataclass(frozen=True)
class Lesion:
    """Lengths are shares of the image's side."""

    x: float
    y: float
    radius: float
    aspect: float  # height over width
    tilt: float  # radians
    outline: Field  # (K,) radius by angle, relative to the ellipse
    edge: float  # width of the transition
    contrast: float  # decibels against the tissue around it
    posterior: float  # decibels behind it: shadow below 0, enhancement above
    rim: float  # decibels of a bright halo


ANGLES = np.arange(720) * (2 * np.pi / 720)


def patient(label: str, size: int, seed: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
    """One to four views (size, size) of one patient. `label`: no_lesion, smooth or irregular."""
    random = Random(seed)
    views = 1 + int(random.between(0, 4))
    layers = _layers(random)
    lesion = None if label == "no_lesion" else _lesion(random, irregular=label == "irregular")
    for _ in range(views):
        yield _image(random, size, layers, _other_view(random, lesion) if lesion else None)


# --- the patient -------------------------------------------------------------------------------------


def _lesion(random: Random, irregular: bool) -> Lesion:
    """The two kinds differ in the centres of these distributions; all of them overlap."""
    roughness = max(0.0, random.bell(0.20, 0.08) if irregular else random.bell(0.09, 0.05))
    return Lesion(
        x=random.between(0.3, 0.7),
        y=random.between(0.36, 0.58),
        radius=random.between(0.11, 0.25),
        aspect=random.bell(0.88, 0.18) if irregular else random.bell(0.74, 0.15),
        tilt=random.bell(0.0, 0.25),
        outline=_outline(random, roughness),
        edge=max(0.01, random.bell(0.032, 0.012) if irregular else random.bell(0.025, 0.010)),
        contrast=-max(2.5, random.bell(10.0, 4.0)),
        posterior=random.bell(-4.0, 4.5) if irregular else random.bell(2.0, 4.0),
        rim=max(0.0, random.bell(1.5, 1.5)),
    )


def _outline(random: Random, roughness: float) -> Field:
    """Lobes (3 to 7 around) and spicules (9 to 17), both in proportion to `roughness`."""
    shape = np.zeros_like(ANGLES)
    for waves in (2, 3, 4, 5, 7):
        shape += random.between(-1, 1) * np.cos(waves * ANGLES + random.between(0, 2 * np.pi)) / waves**0.5
    for waves in (9, 13, 17):
        peaks = np.square(np.cos(waves * ANGLES / 2 + random.between(0, np.pi)))
        where = 0.5 + 0.5 * np.cos(random.between(1, 3.99) // 1 * ANGLES + random.between(0, 2 * np.pi))
        shape += random.between(0.3, 1.3) * where * (peaks * peaks - 0.375)
    return np.maximum(1 + roughness * shape, 0.3)


def _other_view(random: Random, lesion: Lesion) -> Lesion:
    """The same lesion in another plane: moved, tilted, cut larger or smaller, its outline turned a little."""
    return Lesion(
        x=lesion.x + random.bell(0, 0.06),
        y=lesion.y + random.bell(0, 0.03),
        radius=lesion.radius * random.between(0.8, 1.15),
        aspect=lesion.aspect * random.between(0.9, 1.1),
        tilt=lesion.tilt + random.bell(0, 0.15),
        outline=np.roll(lesion.outline, int(random.between(-60, 60))),
        edge=lesion.edge,
        contrast=lesion.contrast + random.bell(0, 1),
        posterior=lesion.posterior + random.bell(0, 1),
        rim=lesion.rim,
    )


@dataclass(frozen=True)
class Layers:
    skin: float
    fat: float  # depth at which subcutaneous fat ends and gland begins
    gland: float  # depth at which gland ends and muscle begins
    fat_echo: float  # decibels against gland
    muscle_echo: float
    attenuation: float  # decibels over the depth of the image, after the machine's compensation


def _layers(random: Random) -> Layers:
    return Layers(
        skin=random.between(0.03, 0.06),
        fat=random.between(0.14, 0.30),
        gland=random.between(0.68, 0.86),
        fat_echo=random.between(-11, -5),
        muscle_echo=random.between(-12, -6),
        attenuation=random.between(2, 12),
    )


# --- the image ---------------------------------------------------------------------------------------


def _image(random: Random, size: int, layers: Layers, lesion: Lesion | None) -> NDArray[np.uint8]:
    y = (np.arange(size, dtype=np.float64)[:, None] + 0.5) / size
    x = (np.arange(size, dtype=np.float64)[None, :] + 0.5) / size
    echo = _tissue(random, x, y, layers)
    for _ in range(int(random.between(0, 4))):  # fat lobules look like faint lesions, in every class
        echo = echo + _lobule(random, x, y)
    if lesion:
        echo = _with_lesion(echo, x, y, lesion)
    echo = echo - layers.attenuation * y + random.bell(0, 2.0)
    power = _speckle(random, size)
    decibels = echo + 10 * np.log10(power + 1e-4)
    grey = 255 * (decibels / DYNAMIC_RANGE + random.between(0.54, 0.62))
    pixels: NDArray[np.uint8] = np.rint(np.clip(grey, 0, 255)).astype(np.uint8)
    pixels.setflags(write=False)  # the data set's index is kept and handed out again
    return pixels


def _tissue(random: Random, x: Field, y: Field, layers: Layers) -> Field:
    """Echo of skin, fat, gland and muscle, with wavy borders that are bright themselves."""
    fat = layers.fat + _wave(random, x, 0.035)
    gland = layers.gland + _wave(random, x, 0.035)
    echo = layers.fat_echo * (1 - _step(y - fat, 0.02)) + layers.muscle_echo * _step(y - gland, 0.03)
    echo = echo + (8 - layers.fat_echo) * (1 - _step(y - layers.skin, 0.01))
    for border, bright in ((fat, 4.0), (gland, 6.0)):
        echo = echo + bright * random.between(0.3, 1) * _bump((y - border) / 0.012)
    streaks = np.sin(
        2 * np.pi * (random.between(14, 22) * (y + _wave(random, x, 0.02)) + random.between(0, 1))
    )
    echo = echo + 2.5 * streaks * _step(y - gland, 0.03)
    for waves in (1, 1.5, 2, 3, 4, 5, 7, 9):  # uneven texture: products of waves along x and y
        down = y + random.between(-0.4, 0.4) * x if waves < 4 else y
        along_x = np.sin(2 * np.pi * (random.between(0.5, 1.2) * waves * x + random.between(0, 1)))
        along_y = np.sin(2 * np.pi * (random.between(0.8, 1.8) * waves * down + random.between(0, 1)))
        echo = echo + random.between(0.3, 1.4) * along_x * along_y
    return echo


def _lobule(random: Random, x: Field, y: Field) -> Field:
    across = (x - random.between(0, 1)) / random.between(0.05, 0.16)
    down = (y - random.between(0.2, 0.9)) / random.between(0.025, 0.07)
    return -random.between(1.5, 6.0) * _step(1 - across * across - down * down, 0.5)


def _with_lesion(echo: Field, x: Field, y: Field, lesion: Lesion) -> Field:
    dx, dy = x - lesion.x, y - lesion.y
    along = dx * np.cos(lesion.tilt) + dy * np.sin(lesion.tilt)
    across = (dy * np.cos(lesion.tilt) - dx * np.sin(lesion.tilt)) / lesion.aspect
    distance = np.sqrt(along * along + across * across)
    turn = np.arctan2(across, along) * (len(ANGLES) / (2 * np.pi))
    outside = distance - lesion.radius * lesion.outline[np.rint(turn).astype(np.int64) % len(ANGLES)]
    inside = 1 - _step(outside, lesion.edge)
    bottom = lesion.radius * lesion.aspect
    depth = dy - bottom * np.sqrt(np.clip(1 - np.square(dx / lesion.radius), 0, 1))  # below the lower edge
    behind = _step(depth - 0.03, 0.05) * np.exp(-np.maximum(depth, 0) / 0.35)
    beam = 1 - _step(np.abs(dx) - 0.75 * lesion.radius, 0.45 * lesion.radius)
    flat = echo * (1 - 0.7 * inside)  # tissue texture does not go on inside a lesion
    shadow = lesion.posterior * behind * beam  # or enhancement
    echoes: Field = flat + lesion.contrast * inside + shadow + lesion.rim * _bump((outside - 0.01) / 0.015)
    return echoes


def _speckle(random: Random, size: int) -> Field:
    """(size, size) power of mean 1: complex noise blurred by a spot wider than it is deep."""
    scale = size / 128
    axial, lateral = _kernel(0.85 * scale), _kernel(1.6 * scale)
    shape = (2 * LOOKS, size + len(axial) - 1, size + len(lateral) - 1)
    noise = random.noise(*shape)
    rows = sum(w * noise[:, k : k + size] for k, w in enumerate(axial))
    blurred = sum(w * rows[:, :, k : k + size] for k, w in enumerate(lateral))
    energy = float((axial * axial).sum() * (lateral * lateral).sum()) / 12  # variance of uniform noise
    total = sum(np.square(part, dtype=np.float64) for part in blurred)
    return np.asarray(total / (2 * LOOKS * energy))


def _kernel(sigma: float) -> NDArray[np.float32]:
    reach = np.arange(-int(np.ceil(2.2 * sigma)), int(np.ceil(2.2 * sigma)) + 1)
    return np.exp(-0.5 * (reach / sigma) ** 2).astype(np.float32)


def _wave(random: Random, x: Field, height: float) -> Field:
    """A gentle line across the image."""
    line = np.zeros_like(x)
    for waves in (0.7, 1.6, 3.1):
        line = line + random.between(-1, 1) / waves * np.sin(2 * np.pi * (waves * x + random.between(0, 1)))
    return height * line


def _step(distance: Field, width: float) -> Field:
    """0 well below distance 0, 1 well above, smooth over `width`."""
    t = np.clip(distance / width * 0.5 + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _bump(t: Field) -> Field:
    return np.exp(-0.5 * t * t)
