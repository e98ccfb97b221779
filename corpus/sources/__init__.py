"""Published datasets, read in the layout their publishers ship them.

One small adapter per dataset says which column means what; reading tables, finding files and the rules that all rows
share are done once. An adapter knows no other adapter and no taxonomy: labels leave here as the source wrote them.
"""

from __future__ import annotations

from pathlib import Path

from corpus.sources import fitzpatrick17k, folder, ham10000, isic_archive, pad_ufes_20
from corpus.sources.records import SourceReading
from schemas.config import SourceSettings

__all__ = ["SourceReading", "read_source"]


def read_source(settings: SourceSettings, root: Path) -> SourceReading:
    """Read the metadata of the dataset in the folder ``root`` and find its images; no image is opened.

    Every row of the metadata table becomes one record or one rejection with a reason. Raises
    :class:`schemas.errors.SourceError` when folder, table or columns are not what the adapter reads.
    """
    match settings.adapter:
        case "ham10000":
            return ham10000.read(settings, root)
        case "pad_ufes_20":
            return pad_ufes_20.read(settings, root)
        case "fitzpatrick17k":
            return fitzpatrick17k.read(settings, root)
        case "isic_archive":
            return isic_archive.read(settings, root)
        case "folder":
            return folder.read(settings, root)
