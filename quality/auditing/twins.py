"""Texts that are nearly one: MinHash over runs of five words, found by locality-sensitive hashing (datasketch).

A signature is 128 numbers whatever the length of a text, so a hundred thousand texts are compared in some fifty
megabytes; the share of equal numbers estimates how much two texts have in common (Jaccard). Permutations are drawn with
a fixed seed, so the same texts always give the same pairs. The import of datasketch takes most of a second (it brings
Redis and numerical integration) and stays inside the functions: a build looks for no twins.
"""

from __future__ import annotations

import re
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from datasketch import MinHash

PERMUTATIONS = 128
#: Pairs that share at least this much of their runs of words count as nearly one text.
NEAR = 0.8
_RUN = 5
_SCHEME: Literal["affine32"] = "affine32"
_WORD = re.compile(r"\w+")


@cache
def _permutations() -> Any:
    from datasketch import MinHash

    return MinHash(num_perm=PERMUTATIONS, seed=1, scheme=_SCHEME).permutations


def _hashed(run: bytes) -> int:
    return zlib.crc32(run)


def _minhash(values: npt.NDArray[np.uint32] | None = None) -> MinHash:
    from datasketch import MinHash

    drawn = _permutations()
    return MinHash(PERMUTATIONS, 1, hashfunc=_hashed, hashvalues=values, permutations=drawn, scheme=_SCHEME)


def signature(text: str) -> npt.NDArray[np.uint32]:
    """The MinHash signature of ``text``, its case and marks set aside."""
    words = _WORD.findall(text.casefold())
    runs = {" ".join(words[at : at + _RUN]) for at in range(max(1, len(words) - _RUN + 1))}
    made = _minhash()
    made.update_batch([run.encode("utf-8", "replace") for run in sorted(runs)])
    return np.asarray(made.hashvalues, dtype=np.uint32)


def near_twins(signatures: npt.NDArray[np.uint32]) -> list[tuple[int, int, float]]:
    """For each text that nearly is an earlier one: its place, that of the most similar earlier one, and how similar."""
    from datasketch import MinHashLSH

    lsh = MinHashLSH(threshold=NEAR, num_perm=PERMUTATIONS)
    found = []
    for place, values in enumerate(signatures):
        made = _minhash(values)
        earlier = sorted(lsh.query(made))
        if earlier:
            shares = np.mean(signatures[earlier] == values, axis=1)
            best = int(np.argmax(shares))
            if shares[best] >= NEAR:
                found.append((place, int(earlier[best]), float(shares[best])))
        lsh.insert(place, made)
    return found
