"""Connected components over string ids, for duplicate clusters and leakage groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def components(ids: Sequence[str], edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Components of an undirected graph; each sorted, the list sorted by first member, singletons included."""
    parent = {identifier: identifier for identifier in ids}

    def root(of: str) -> str:
        while parent[of] != of:
            parent[of] = of = parent[parent[of]]
        return of

    for a, b in edges:
        parent[root(a)] = root(b)
    groups: dict[str, list[str]] = {}
    for identifier in ids:
        groups.setdefault(root(identifier), []).append(identifier)
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
