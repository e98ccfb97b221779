"""Narratives as Label Studio tasks that give nothing away.

A task holds an opaque key, the address of an image under an opaque name, and the sections as plain text: no author, no
score, no source, no file name. Whoever made the key can find the narrative again; nobody else learns from it even that
two raters, or one rater twice, were shown the same text.
"""

from __future__ import annotations

import hmac
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from schemas.narrative import Differential, FirstImpression, Narrative, render_sections

#: Model version of the prediction that fills in the corrected narrative; projects show predictions of this one only.
PREFILL = "narrative-as-written"
#: Folder of the images below the server's document root; Label Studio serves no file that lies in the root itself.
IMAGES = "images"

_NOTHING = "(none)"
_KEY_LENGTH = 32


def task_of(
    narrative: Narrative,
    image_url: str,
    key: str,
    label: str | None = None,
    note: str | None = None,
    feedback: str | None = None,
) -> dict[str, Any]:
    """The task of one narrative, with the prediction that fills in the text to correct.

    ``label``: the recorded diagnosis, for a screen that shows it; left out otherwise. ``note``: what the rater is told
    along with the case; ``feedback``: what the rater is told after the decision. Where there is none of these two the
    task says so by an empty text, since Label Studio takes no task that lacks what its screen may show.
    """
    data = {"key": key, "image": image_url, **section_texts(narrative), "note": note or "", "feedback": feedback or ""}
    if label is not None:
        data["label"] = label
    prefill = {
        "id": "corrected",
        "from_name": "corrected",
        "to_name": "image",
        "type": "textarea",
        "value": {"text": [render_sections(narrative)]},
    }
    return {"data": data, "predictions": [{"model_version": PREFILL, "result": [prefill]}]}


def pause_note(number: int, cap: int | None) -> str | None:
    """What a rater is told at every ``cap``-th case; ``number``: of the case in the rater's list, from 1, practice left
    out."""
    if cap is None or number < 1 or number % cap:
        return None
    return (
        f"This is case {number} of yours: time for a break.\n"
        "Submit it, then stop for today. Tired eyes score otherwise than fresh ones, and the rest will wait."
    )


def section_texts(narrative: Narrative) -> dict[str, str]:
    """Section -> its text for reading: bullets, without taxonomy ids, never empty."""
    end = narrative.conclusion
    weighed = [line for entry in narrative.differential for line in _differential(entry)]
    if narrative.first_impression is not None:
        weighed = [*_first(narrative.first_impression), *weighed]
    texts = {
        "context": [f"• {fact}" for fact in narrative.context_used],
        "findings": [f"• {finding.origin}: {finding.text}" for finding in narrative.findings],
        "differential": weighed,
        "conclusion": [
            f"{end.diagnosis} ({end.malignancy.replace('_', ' ')}; certainty: {end.certainty.replace('_', ' ')})",
            end.rationale,
        ],
        "limitations": [f"• {limitation}" for limitation in narrative.limitations],
        "next_step": [] if narrative.next_step is None else [narrative.next_step],
    }
    return {name: "\n".join(lines or [_NOTHING]) for name, lines in texts.items()}


def _differential(entry: Differential) -> list[str]:
    pro, con = entry.evidence_for, entry.evidence_against
    return [f"• {entry.diagnosis}", *(f"   + {text}" for text in pro), *(f"   − {text}" for text in con)]  # noqa: RUF001


def _first(first: FirstImpression) -> list[str]:
    return [
        f"• First impression, given up: {first.diagnosis}",
        *(f"   + {text}" for text in first.evidence_for),
        *(f"   turned by: {text}" for text in first.turned_by),
    ]


def opaque_key(secret: bytes, narrative_id: str, rater: str, occasion: int) -> str:
    """The key of one narrative as shown to one rater on one occasion: 32 hex digits that only ``secret`` explains."""
    return _keyed(secret, "task", narrative_id, rater, str(occasion))


def image_name(secret: bytes, image_digest: str, extension: str) -> str:
    """The file name under which an image is shown; ``extension`` as in ``.jpg``."""
    return _keyed(secret, "image", image_digest) + extension.lower()


def image_url(name: str) -> str:
    """The address of a file of :data:`IMAGES` on the server that serves it."""
    return f"/data/local-files/?d={quote(f'{IMAGES}/{name}')}"


def export_image(source: Path | bytes, document_root: Path, name: str) -> Path:
    """Put an image, a file or its bytes, under the document root as ``name``. Repeatable.

    A file is hard-linked, or copied where it lies on another disk.
    """
    folder = document_root / IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / name
    if target.exists():
        return target
    new = folder / f".{uuid.uuid4().hex}"
    if isinstance(source, bytes):
        new.write_bytes(source)
    else:
        try:
            os.link(source, new)
        except OSError:
            shutil.copyfile(source, new)
    os.replace(new, target)
    new.unlink(missing_ok=True)  # replacing a link by a link to the same file leaves both
    return target


def _keyed(secret: bytes, *parts: str) -> str:
    if len(secret) < _KEY_LENGTH // 2:
        raise ValueError("a secret of at least 16 bytes is needed")
    return hmac.digest(secret, _unambiguous(parts), "sha256").hex()[:_KEY_LENGTH]


def _unambiguous(parts: Iterable[str]) -> bytes:
    """The parts with their lengths, so that no two lists of parts give the same bytes."""
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(8, "big") + part for part in encoded)
