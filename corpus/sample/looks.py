"""What each diagnosis looks like when it is drawn: a small table of numbers per label.

The looks are caricatures (a psoriasis plaque is red with white scale, a nevus round and brown). They make labels and
pictures agree to a human eye and nothing more; nobody should train a classifier on them.
"""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """How lesions of one diagnosis are drawn.

    ``count``: how many. ``radius``: of each, as a share of the picture's short side in a close-up. ``irregular``: how
    far the border wanders, and ``soft``: how wide it is, both in radii. ``melanin``, ``blood``, ``blue``: absorbance of
    the pigments (0 none, 1 strong; a negative melanin covers with pale). ``scale``, ``crust``: cover, 0 to 1.
    ``network``: contrast of a pigment network. ``centre``: plain | clear | dark | pale | ulcer | pearl. ``shape``: blob
    | track.
    """

    count: tuple[int, int] = (1, 1)
    radius: Range = (0.18, 0.34)
    irregular: float = 0.15
    soft: float = 0.2
    melanin: Range = (0.0, 0.0)
    blood: Range = (0.0, 0.0)
    blue: float = 0.0
    scale: float = 0.0
    crust: float = 0.0
    network: float = 0.0
    centre: str = "plain"
    shape: str = "blob"


_PAPULES = (0.018, 0.05)

LOOKS: dict[str, Look] = {
    "nevus": Look((1, 2), (0.16, 0.34), 0.12, 0.22, (0.5, 1.0), (0.0, 0.2), network=0.55),
    "melanoma": Look((1, 2), (0.22, 0.44), 0.42, 0.12, (0.8, 1.7), (0.1, 0.5), blue=0.7, network=0.5, centre="dark"),
    "benign keratosis": Look((1, 3), (0.16, 0.4), 0.25, 0.08, (0.4, 0.9), (0.0, 0.15), scale=0.15, network=0.35),
    "basal cell carcinoma": Look((1, 1), (0.16, 0.32), 0.3, 0.2, (0.0, 0.2), (0.3, 0.7), blue=0.2, centre="pearl"),
    "actinic keratosis": Look((1, 5), (0.08, 0.24), 0.4, 0.35, (0.05, 0.25), (0.3, 0.6), scale=0.55, crust=0.2),
    "vascular lesion": Look((1, 3), (0.12, 0.3), 0.22, 0.1, (0.0, 0.1), (1.0, 2.0), blue=0.35),
    "dermatofibroma": Look((1, 1), (0.16, 0.28), 0.12, 0.4, (0.35, 0.6), (0.1, 0.3), network=0.2, centre="pale"),
    "squamous cell carcinoma": Look((1, 2), (0.15, 0.3), 0.35, 0.15, (0.0, 0.2), (0.5, 0.9), 0, 0.45, 0.5, 0, "ulcer"),
    "psoriasis": Look((3, 11), (0.08, 0.3), 0.3, 0.1, (0.0, 0.1), (0.45, 0.8), scale=0.75),
    "lichen planus": Look((8, 18), (0.03, 0.1), 0.2, 0.12, (0.15, 0.4), (0.3, 0.6), blue=0.3, scale=0.15),
    "allergic contact dermatitis": Look((2, 6), (0.12, 0.35), 0.5, 0.6, (0.0, 0.05), (0.35, 0.75), crust=0.15),
    "lupus erythematosus": Look((2, 6), (0.1, 0.3), 0.4, 0.3, (0.0, 0.25), (0.4, 0.8), scale=0.3, centre="pale"),
    "neutrophilic dermatoses": Look((3, 9), (0.06, 0.18), 0.25, 0.2, (0.0, 0.15), (0.6, 1.1), 0.15, centre="ulcer"),
    "sarcoidosis": Look((4, 12), (0.04, 0.15), 0.2, 0.3, (0.1, 0.4), (0.3, 0.6), blue=0.1),
    "photodermatoses": Look((2, 5), (0.2, 0.45), 0.6, 0.5, (0.0, 0.15), (0.35, 0.7), scale=0.1),
    "folliculitis": Look((10, 18), _PAPULES, 0.1, 0.5, (0.0, 0.1), (0.5, 0.9), centre="pale"),
    "scabies": Look((10, 18), _PAPULES, 0.3, 0.4, (0.0, 0.15), (0.4, 0.8), crust=0.3),
    "acne vulgaris": Look((10, 18), (0.02, 0.06), 0.15, 0.5, (0.0, 0.15), (0.5, 1.0), centre="pale"),
    "scleroderma": Look((1, 3), (0.2, 0.45), 0.4, 0.5, (-0.3, -0.12), (-0.1, 0.1), centre="pearl"),
    "pityriasis rubra pilaris": Look((3, 7), (0.2, 0.45), 0.5, 0.15, (0.05, 0.2), (0.5, 0.85), scale=0.35),
    "nematode infection": Look((1, 2), (0.02, 0.03), 0.1, 0.5, (0.0, 0.1), (0.6, 1.0), shape="track"),
    "erythema multiforme": Look((6, 16), (0.05, 0.13), 0.1, 0.15, (0.0, 0.1), (0.5, 0.9), centre="dark"),
    "granuloma annulare": Look((2, 6), (0.08, 0.22), 0.2, 0.25, (0.0, 0.15), (0.35, 0.65), centre="clear"),
    "eczema": Look((2, 7), (0.12, 0.32), 0.5, 0.5, (0.0, 0.1), (0.35, 0.7), scale=0.3, crust=0.25),
    "drug eruption": Look((10, 18), (0.03, 0.12), 0.4, 0.6, (0.0, 0.05), (0.4, 0.8)),
    "vitiligo": Look((2, 7), (0.1, 0.35), 0.4, 0.08, (-0.8, -0.5), (0.0, 0.1)),
}  # fmt: skip

#: Raw label of a dataset -> the look it is drawn with; Fitzpatrick17k labels that equal a look need no entry.
LOOK_OF_LABEL: dict[str, str] = {
    "nv": "nevus",
    "mel": "melanoma",
    "bkl": "benign keratosis",
    "bcc": "basal cell carcinoma",
    "akiec": "actinic keratosis",
    "vasc": "vascular lesion",
    "df": "dermatofibroma",
    "NEV": "nevus",
    "MEL": "melanoma",
    "SEK": "benign keratosis",
    "BCC": "basal cell carcinoma",
    "ACK": "actinic keratosis",
    "SCC": "squamous cell carcinoma",
    "nevocytic nevus": "nevus",
}


def look_of(label: str) -> Look:
    """The look of a dataset's raw label; KeyError when the sample draws no such diagnosis."""
    return LOOKS[LOOK_OF_LABEL.get(label, label)]
