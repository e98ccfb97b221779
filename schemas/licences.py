"""Which licence allows what: SPDX identifier -> licence class.

A release keeps its rows apart by class so that a trainer never mixes terms by accident: ``open`` is what loads by
default, the others load by name, and ``no-redistribution`` rows are counted but never written.
"""

from __future__ import annotations

LICENCE_CLASSES = ("open", "nc", "nc-sa", "share-with-terms", "no-redistribution")

#: Known licences. The keys are SPDX identifiers where one exists.
LICENCE_CLASS = {
    "CC0-1.0": "open",
    "CC-BY-4.0": "open",
    "CC-BY-3.0": "open",
    "CC-BY-NC-4.0": "nc",
    "CC-BY-NC-3.0": "nc",
    "CC-BY-NC-SA-4.0": "nc-sa",
    "CC-BY-NC-SA-3.0": "nc-sa",
    "LicenseRef-SCIN-Data-Use": "share-with-terms",
    "LicenseRef-No-Redistribution": "no-redistribution",
}

#: How the ISIC Archive and others write licences, case-folded, to the SPDX identifier.
_SPELLINGS = {
    "cc-0": "CC0-1.0",
    "cc0": "CC0-1.0",
    "cc0-1.0": "CC0-1.0",
    "cc-by": "CC-BY-4.0",
    "cc-by-nc": "CC-BY-NC-4.0",
    "cc-by-nc-sa": "CC-BY-NC-SA-4.0",
    **{spdx.casefold(): spdx for spdx in LICENCE_CLASS},
}


def spdx_licence(text: str | None) -> str | None:
    """The SPDX identifier of a licence as a dataset writes it (``CC-0``, ``cc by nc 4.0``), or None if unknown."""
    if text is None:
        return None
    return _SPELLINGS.get("-".join(text.split()).casefold())
