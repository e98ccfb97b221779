"""Connected components over string ids, for duplicate clusters and leakage groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def components(ids: Sequence[str], edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Components of an undirected graph; each sorted, the list sorted by first member, singletons included."""
    place = {identifier: index for index, identifier in enumerate(ids)}
    pairs = np.array([(place[a], place[b]) for a, b in edges], dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(ids), len(ids)))
    _, labels = connected_components(graph, directed=False)
    groups: dict[int, list[str]] = {}
    for identifier, label in zip(ids, labels.tolist(), strict=True):
        groups.setdefault(label, []).append(identifier)
    return sorted(sorted(group) for group in groups.values())


def star_edges(keys: Sequence[str | None], ids: Sequence[str]) -> list[tuple[str, str]]:
    """Edges that join all ids sharing a key (null keys join nothing), each id to the first of its key."""
    first: dict[str, str] = {}
    edges = []
    for key, identifier in zip(keys, ids, strict=True):
        if key is None:
            continue
        if key in first:
            edges.append((first[key], identifier))
        else:
            first[key] = identifier
    return edges
