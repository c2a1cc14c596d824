"""HDR colours → standard dynamic range. Pure arithmetic on pixels.

Sources: PQ is SMPTE ST 2084, HLG and its system gamma ITU-R BT.2100, white at 203 cd/m2 ITU-R BT.2408, the matrix ITU-R BT.2087.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from smolvlm_core.video.clip import Pixels

PQ, HLG = 16, 18  # transfer characteristics in ITU-T H.273
BT709_PRIMARIES = 1  # the same table
WHITE_NITS, HLG_PEAK_NITS, HLG_GAMMA = 203.0, 1000.0, 1.2
BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)
LUMA_2020 = np.array([0.2627, 0.678, 0.0593], dtype=np.float32)
KNEE = 0.75  # of white: lighter values are compressed, so that highlights keep detail

Floats = NDArray[np.floating[Any]]


def nits_of_pq(code: Floats) -> Floats:
    """Code values from 0 to 1 → cd/m2."""
    power = code ** (1 / 78.84375)
    nits: Floats = 10_000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    return nits


def nits_of_hlg(code: Floats) -> Floats:
    """(…, 3) code values from 0 to 1 → cd/m2 on a screen of 1,000 cd/m2."""
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    luma = np.maximum(scene @ LUMA_2020, 1e-6)[..., None]
    return HLG_PEAK_NITS * scene * luma ** (HLG_GAMMA - 1)


def to_sdr(pixels: NDArray[np.uint16], curve: int, primaries: int) -> Pixels:
    """(height, width, 3), 16 bits as stored → 8 bits of sRGB."""
    code = pixels.astype(np.float32) / 65535
    light = (nits_of_pq(code) if curve == PQ else nits_of_hlg(code)) / WHITE_NITS
    if primaries != BT709_PRIMARIES:
        light = light @ BT2020_TO_BT709.T
    light = np.maximum(light, 0)
    high = KNEE + (1 - KNEE) * (1 - np.exp(-(light - KNEE) / (1 - KNEE)))
    light = np.where(light > KNEE, high, light)
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    shown: Pixels = np.round(255 * np.clip(coded, 0, 1)).astype(np.uint8)
    return shown
