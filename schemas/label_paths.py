"""Labels that are image paths: the folder that a picture lies in, and what its file name says.

Picture collections such as the public copies of DermNet keep the diagnosis in the name of the file
("Eczema Photos/07EczemaHandOK0712.jpg"). Numbers, camera names and copy marks are taken off; a name of which nothing is
left, such as ``IMG011``, says nothing, and only the folder speaks.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass

_ENDINGS = re.compile(r"(?:\.(?:jpe?g|png|gif|bmp|tiff?|webp|txt))+$", re.IGNORECASE)
#: Numbers, save those of a type ("herpes type 2").
_NUMBER = re.compile(r"(?<!type)(?<!type[-_ ])\d+", re.IGNORECASE)
#: A genitive whose apostrophe a file system took ("Bowen_s-Disease").
_POSSESSIVE = re.compile(r"(?<=[a-z])_s(?![a-z])")
#: Marks glued to the end of a word: a camera's name, "OK", or the letter O or K in front of a date.
_GLUED = re.compile(r"(?<=[a-z])(?:IMG|OK|O|K)$")
#: Camera names, marks of copies, and the FU of 5FU, a treatment.
_MARKS = frozenset(re.findall(r"\w+", "copy dsc dscn fu gp gpo image img k o ok p pic picture rr scan st th untitled"))


@dataclass(frozen=True)
class ImagePath:
    """The known folder of a picture, as the caller spells it, and the words of its name; either may be missing."""

    folder: str | None
    name: str


def read_path(raw: str, folders: Container[str], normalise: re.Pattern[str]) -> ImagePath:
    """``raw`` as a path, a bare file name or a folder; in ``folders``, case is folded, ``normalise`` one space."""
    parts = [part for part in re.split(r"[/\\]+", raw) if part.strip()]
    keys = [normalise.sub(" ", part.casefold()).strip() for part in parts]
    known = [key for key in keys if key in folders]
    folder = known[-1] if known else None
    if not parts or keys[-1] in folders:
        return ImagePath(folder, "")
    return ImagePath(folder, _said(parts[-1].strip()))


def _said(name: str) -> str:
    whole = _POSSESSIVE.sub("'s", _NUMBER.sub(" ", _ENDINGS.sub("", name)))
    words = re.split(r"[\s_\-]+", whole)
    bare = (_GLUED.sub("", word) for word in words)
    return " ".join(word for word in bare if re.search(r"\w", word) and word.casefold() not in _MARKS)
