"""Views of a row: batches of images or series, each row changed at random in its own way.

What is drawn is apart from what is done with it: `draw` gives named tensors with a row for each row
of x, `change` applies them. Calling a view does both. A generator lies on the device of x.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Drawn = dict[str, Tensor]
SWAY_EVERY = 3  # steps between places at which smooth noise is drawn
BENT_AT = 4  # places along a side at which an image is moved; between them smoothly


class Views:
    """Of a frozen dataclass of strengths, all of which are 0 for no change at all."""

    def scaled(self, strength: float) -> Self:
        """Return views that differ `strength` times as much."""
        own = {field.name: strength * getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return replace(self, **own)  # type: ignore[type-var]

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Drawn:
        raise NotImplementedError

    def change(self, x: Tensor, drawn: Drawn) -> Tensor:
        raise NotImplementedError

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return self.change(x, self.draw(x.shape, generator))


def uniform(shape: tuple[int, ...], greatest: float, generator: torch.Generator) -> Tensor:
    drawn = torch.empty(shape, device=generator.device)
    return drawn.uniform_(-greatest, greatest, generator=generator)


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


@dataclass(frozen=True)
class ImageViews(Views):
    """Square images (n, c, side, side) in [0, 1], paper 0: moved, bent, a square erased, noisy.

    Greatest changes, either way, uniform in between: degrees; zoom, as an exponent of 2, of each
    axis; shear, of the side; shift, of the side. bend: deviation of smooth displacements, of the
    side. pen: part of the way to the most or the least ink among a pixel and its eight neighbours.
    erased: greatest side of the square, of the image's. noise: its deviation, before values
    are cut to [0, 1].
    """

    degrees: float = 12.0
    zoom: float = 0.25
    shear: float = 0.12
    shift: float = 0.06
    bend: float = 0.04
    pen: float = 0.8
    erased: float = 0.25
    noise: float = 0.03

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Drawn:
        n = shape[0]
        return {
            "angle": uniform((n,), self.degrees * math.pi / 180, generator),
            "zoom": uniform((n, 2), self.zoom, generator),
            "shear": uniform((n,), self.shear, generator),
            "shift": uniform((n, 2), self.shift, generator),
            "bend": self.bend * normal((n, 2, BENT_AT, BENT_AT), generator),
            "pen": uniform((n, 1), self.pen, generator),
            "erased_at": uniform((n, 2, 1), 0.5, generator),
            "erased": uniform((n, 1), self.erased, generator).abs(),
            "noise": self.noise * normal(shape, generator),
        }

    def change(self, x: Tensor, drawn: Drawn) -> Tensor:
        angle, shear = drawn["angle"], drawn["shear"]
        (zoom_x, zoom_y), shift = drawn["zoom"].unbind(1), drawn["shift"].unbind(1)
        # from a place in the output to one in the input: R(angle) · shear · zoom, sides being 2
        cos, sin, across, down = angle.cos(), angle.sin(), zoom_x.exp2(), zoom_y.exp2()
        upper = torch.stack([cos * across, (shear * cos - sin) * down, 2 * shift[0]], 1)
        lower = torch.stack([sin * across, (shear * sin + cos) * down, 2 * shift[1]], 1)
        grid = F.affine_grid(torch.stack([upper, lower], 1), list(x.shape), align_corners=False)
        bend = F.interpolate(2 * drawn["bend"], x.shape[2:], mode="bicubic", align_corners=True)
        grid = grid + bend.permute(0, 2, 3, 1)
        moved = F.grid_sample(x, grid, align_corners=False)  # what comes in from outside is 0

        pen = drawn["pen"][:, :, None, None]
        thick, thin = F.max_pool2d(moved, 3, 1, 1), -F.max_pool2d(-moved, 3, 1, 1)
        moved = moved + pen.clamp(min=0) * (thick - moved) - pen.clamp(max=0) * (thin - moved)

        places = (torch.arange(x.shape[2], device=x.device) + 0.5) / x.shape[2] - 0.5
        rows, columns = (
            (places - centre).abs() < drawn["erased"] / 2 for centre in drawn["erased_at"].unbind(1)
        )
        erased = rows[:, None, :, None] & columns[:, None, None, :]
        return (moved.masked_fill(erased, 0.0) + drawn["noise"]).clamp(0, 1)


@dataclass(frozen=True)
class SeriesViews(Views):
    """Series (n, c, length): shifted round the ends, stretched, scaled, tilted, a piece erased.

    Greatest changes, either way, uniform in between: shift, of the length; stretch and scale, as
    exponents of 2; tilt, of a line added, from one end to the other. erased: greatest length of a
    piece set to 0, of the whole. sway: deviation of smooth noise. noise: of noise that is not.
    """

    shift: float = 0.5
    stretch: float = 0.4
    scale: float = 0.4
    tilt: float = 1.5
    erased: float = 0.1
    sway: float = 0.6
    noise: float = 0.05

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Drawn:
        column = (shape[0], 1)
        return {
            "shift": uniform(column, self.shift, generator),
            "stretch": uniform(column, self.stretch, generator),
            "scale": uniform(column, self.scale, generator),
            "tilt": uniform(column, self.tilt, generator),
            "erased_at": uniform(column, 0.5, generator),
            "erased": uniform(column, self.erased, generator).abs(),
            "sway": self.sway * normal((*shape[:2], shape[2] // SWAY_EVERY), generator),
            "noise": self.noise * normal(shape, generator),
        }

    def change(self, x: Tensor, drawn: Drawn) -> Tensor:
        length = x.shape[2]
        steps = torch.arange(length, device=x.device, dtype=x.dtype)
        middle = (length - 1) / 2
        places = (steps - middle) * drawn["stretch"].exp2() + middle + drawn["shift"] * length
        before = places.floor()
        rest = (places - before)[:, None]
        at, after = (
            x.gather(2, (before.long() + one).remainder(length)[:, None].expand_as(x))
            for one in (0, 1)
        )
        moved = torch.lerp(at, after, rest) * drawn["scale"].exp2()[:, None]

        along = (steps + 0.5) / length - 0.5
        erased = (along - drawn["erased_at"]).abs() < drawn["erased"] / 2
        line = drawn["tilt"] * (steps / (length - 1) - 0.5)
        sway = F.interpolate(drawn["sway"], length, mode="linear", align_corners=True)
        return moved.masked_fill(erased[:, None], 0.0) + line[:, None] + sway + drawn["noise"]
