"""Single drawn pictures: every label can be drawn, skin tones are told apart, files are encoded without loss."""

from __future__ import annotations

import io
from struct import unpack

import numpy as np
import pytest
from PIL import Image

from corpus.sample.draw import plan_sample
from corpus.sample.encoding import oversized_png, png
from corpus.sample.lesions import draw_photograph
from corpus.sample.looks import LOOK_OF_LABEL, LOOKS


def test_oversized_png_exceeds_fifty_megapixels() -> None:
    data = oversized_png(9000, 6000)
    width, height = unpack(">II", data[16:24])
    assert width * height > 50_000_000 and len(data) < 100_000


def test_every_drawn_label_has_a_look() -> None:
    drawn = {record.label for record in plan_sample(400, seed=3)[0]}
    assert drawn <= set(LOOKS) | set(LOOK_OF_LABEL)
    assert set(LOOK_OF_LABEL.values()) <= set(LOOKS)


@pytest.mark.parametrize("tone", range(1, 7))
def test_darker_tones_are_drawn_darker(tone: int) -> None:
    def brightness(of: int) -> float:
        pictures = (draw_photograph("NEV", "dermoscopic", of, (160, 128), np.random.default_rng(k)) for k in range(6))
        return float(np.mean([np.asarray(picture.convert("L")).mean() for picture in pictures]))

    assert tone == 1 or brightness(tone) < brightness(tone - 1)


def test_our_png_writer_is_lossless() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(png(Image.fromarray(pixels)))) as picture:
        assert (np.asarray(picture) == pixels).all()
