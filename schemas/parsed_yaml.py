"""What many YAML files say, kept as one JSON file in the user's cache.

Parsing hundreds of files takes most of a second, which every process of every run would pay anew. A kept copy is found
by the digest of the texts, so it is never stale; one that cannot be read is made again, and where none can be kept the
files are parsed each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def parsed(texts: Mapping[str, str], parse: Callable[[str, str], Any]) -> dict[str, Any]:
    """What ``parse(name, text)`` makes of every text, by name. Only plain JSON is kept; errors of ``parse`` pass."""
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()
    place = cache_folder() / f"yaml-{digest[:32]}.json"
    with suppress(OSError, ValueError):
        kept: dict[str, Any] = json.loads(place.read_bytes())
        if isinstance(kept, dict) and kept.keys() == texts.keys():
            return kept
    documents = {name: parse(name, text) for name, text in texts.items()}
    with suppress(OSError, TypeError):
        text = json.dumps(documents)
        if json.loads(text) != documents:  # such as keys that are numbers
            return documents
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_name(f"{place.name}.{uuid.uuid4().hex}.tmp")
        try:
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(place)
        finally:
            unfinished.unlink(missing_ok=True)
    return documents


def cache_folder() -> Path:
    """Where this user's caches of dermcot lie."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "dermcot"
