"""A free-form text as sentences that know where they stood.

Texts of language models mix thinking tags (balanced or not), Markdown, numbered lists flattened into one line, JSON and
HTML. All that is taken off here and remembered, so that whoever reads on sees sentences with their zone, heading and
place in the original; no word is dropped, only marks are.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

Zone = Literal["open", "think", "answer"]

#: Longer texts are no narrative, and reading them would cost more than they can be worth.
MOST_CHARACTERS = 200_000
_THINK, _ANSWER = (
    "think|thinking|thought|reasoning|analysis",
    "answer|final answer|final_answer|diagnosis|final diagnosis",
)
_TAG = re.compile(rf"<\s*(/?)\s*({_THINK}|{_ANSWER})\s*>", re.IGNORECASE)
_HTML = re.compile(
    r"</?(?:p|br|div|span|b|i|em|strong|u|ul|ol|li|h[1-6]|table|tr|td|th|a|code|pre|sub|sup)\b[^<>]{0,200}>",
    re.IGNORECASE,
)
_ITEM_START = re.compile(
    r"(?:[-+\u2022\u2023\u25aa\u00b7\u2013\u2014]|\*(?!\*)|\(?\d{1,2}[.)](?=\s|\*\*)|\(?[a-hA-H][.)](?=\s))\s*"
)
_HEADING = re.compile(r"#{1,6}\s+")
#: A list flattened into a line: a dash, bullet or number in the middle, with a lead in bold or a capital after it.
_INLINE_ITEM = re.compile(r"(?<=[\s:.;!?)])(?:[-\u2022\u2013]\s+|\*\s+|\d{1,2}[.)]\s+)(?=\*\*|[A-Z\"“])")
_BOLD = re.compile(r"\*\*|__|\*(?=\S)|(?<=\S)\*|`+")
#: A lead in bold or up to a colon, at the start of an item: what the item is about.
_LEAD = re.compile(
    r"\*\*(?P<bold>[^*\n]{2,90}?)\s*:?\s*\*\*\s*(?P<colon>[:\-\u2013\u2014])?|(?P<plain>[A-Z][^:.!?\n*]{1,80}):(?=\s|$)"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|vs|cf|etc|approx|Dr|Mr|Mrs|Ms|St|Fig|No|spp|sp|var|incl|resp|al|ca)|\b[A-Z])\.$"
)
_BREAK = re.compile(r"(?<=[.!?])[\"”’)\]]*\s+(?=[\"“‘(\[]?[A-Z0-9])|(?<=[.!?][*_\"”)])\s+(?=[\"“*(\[]?[A-Z0-9])|\n+")  # noqa: RUF001
_ENTITY = re.compile(r"&(?:[a-zA-Z][a-zA-Z0-9]{1,30}|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")
#: Fills up what is shorter without its marks, so that places stay true; it is taken out of every sentence.
_PADDING = "\u2060"
#: What never ends is no sentence.
_LONGEST_SENTENCE = 2_000
_MARK_ONLY = re.compile(r"[\W_]*")


@dataclass(frozen=True)
class Sentence:
    """A sentence without its marks. ``start`` and ``end`` count characters of the original text.

    ``heading``: the last heading before it; ``lead``: what the list item it belongs to begins with, such as a disease;
    ``is_heading``: it is one itself; ``paragraph`` and ``block`` count up.
    """

    text: str
    start: int
    end: int
    zone: Zone
    block: int
    paragraph: int
    heading: str
    lead: str
    is_heading: bool = False


@dataclass(frozen=True)
class Layout:
    """The form of a text: what a reader of the whole set compares."""

    think_blocks: int
    answer_blocks: int
    balanced: bool
    markdown: bool
    headings: int
    items: int
    is_json: bool
    is_html: bool


@dataclass(frozen=True)
class Document:
    """A text and its sentences, in order."""

    raw: str
    sentences: tuple[Sentence, ...]
    layout: Layout


def read_text(raw: str) -> Document:
    """The sentences of ``raw``; ValueError says why a text cannot be one (empty, or longer than any narrative)."""
    if not raw.strip():
        raise ValueError("the text is empty")
    if len(raw) > MOST_CHARACTERS:
        raise ValueError(f"the text has {len(raw):,} characters; at most {MOST_CHARACTERS:,} are read")
    told = _from_json(raw)
    text = told if told is not None else raw
    is_html = _HTML.search(text) is not None
    if is_html:
        text = _ENTITY.sub(_unescaped, _HTML.sub(_blank, text))
    sentences: list[Sentence] = []
    counts = {"think": 0, "answer": 0, "headings": 0, "items": 0}
    balanced = True
    zone: Zone = "open"
    heading, paragraph, at = "", 0, 0
    for block, match in enumerate([*_TAG.finditer(text), None]):
        end = match.start() if match else len(text)
        for line, start, new_paragraph in _lines(text, at, end):
            paragraph += new_paragraph
            for piece in _items(line, start):
                found = list(_sentences(piece, zone, block, paragraph, heading))
                counts["items"] += piece.is_item
                if piece.is_heading and found:
                    counts["headings"] += 1
                    heading = found[-1].text
                sentences += found
        if match is None:
            break
        at = match.end()
        kind: Zone = "answer" if re.fullmatch(_ANSWER, match.group(2), re.IGNORECASE) else "think"
        if match.group(1):
            balanced &= zone == kind
            zone = "open"
        else:
            balanced &= zone == "open"
            zone = kind
            counts[kind] += 1
        heading = ""
    layout = Layout(
        think_blocks=counts["think"],
        answer_blocks=counts["answer"],
        balanced=balanced and zone == "open",
        markdown=bool(_BOLD.search(text)) or counts["headings"] > 0,
        headings=counts["headings"],
        items=counts["items"],
        is_json=told is not None,
        is_html=is_html,
    )
    if told is not None:
        sentences = _placed(sentences, raw)
    return Document(raw, tuple(sentences), layout)


def _unescaped(match: re.Match[str]) -> str:
    return html.unescape(match.group())[:1].ljust(len(match.group()), _PADDING)


def _blank(match: re.Match[str]) -> str:
    return (
        ("\n" + " " * (len(match.group()) - 1))
        if match.group()[1:3].casefold() in _BREAKING
        else " " * len(match.group())
    )


_BREAKING = {"p>", "br", "/p", "li", "di", "h1", "h2", "h3", "h4", "tr", "ul", "ol"}


@dataclass(frozen=True)
class _Piece:
    text: str
    start: int
    is_item: bool
    is_heading: bool


def _lines(text: str, start: int, end: int) -> Iterator[tuple[str, int, bool]]:
    """The lines of a stretch that hold a word: text, where it begins, and whether an empty line lies before it."""
    at, gap = start, True
    for line in text[start:end].split("\n"):
        if line.strip():
            lead = len(line) - len(line.lstrip())
            yield line.strip(), at + lead, gap
            gap = False
        else:
            gap = True
        at += len(line) + 1


def _items(line: str, start: int) -> Iterator[_Piece]:
    """A line cut where a list was flattened into it."""
    is_item = is_heading = False
    at = 0
    if mark := _HEADING.match(line):
        is_heading, at = True, mark.end()
    elif mark := _ITEM_START.match(line):
        is_item, at = True, mark.end()
    cuts = [at, *(m.start() for m in _INLINE_ITEM.finditer(line, at + 1)), len(line)]
    for nth, (begin, stop) in enumerate(pairwise(cuts)):
        text = line[begin:stop]
        if nth and (mark := _ITEM_START.match(text)):
            begin, text = begin + mark.end(), text[mark.end() :]
        if _MARK_ONLY.fullmatch(text):
            continue
        bold = text.strip().rstrip(":").strip()
        alone = bold.startswith("**") and bold.endswith("**") and bold.count("**") == 2 and len(bold) < 100
        closed = text.rstrip().endswith(":") and len(text) < 80 and "." not in text
        yield _Piece(text, start + begin, is_item or nth > 0, is_heading or (len(cuts) == 2 and (alone or closed)))


def _sentences(piece: _Piece, zone: Zone, block: int, paragraph: int, heading: str) -> Iterator[Sentence]:
    lead = ""
    if (piece.is_item or piece.text.startswith("**")) and (match := _LEAD.match(piece.text)):
        lead = _plain(match.group("bold") or match.group("plain") or "").strip(" :")
    for begin, end in _cut(piece.text):
        text = _plain(piece.text[begin:end])
        if _MARK_ONLY.fullmatch(text):
            continue
        yield Sentence(
            text, piece.start + begin, piece.start + end, zone, block, paragraph, heading, lead, piece.is_heading
        )


def _cut(text: str) -> Iterator[tuple[int, int]]:
    """Where sentences begin and end; a stop after an abbreviation ends none."""
    begin = 0
    for match in _BREAK.finditer(text):
        if "\n" not in match.group() and _ABBREVIATION.search(text[max(begin, match.start() - 12) : match.start()]):
            continue
        yield from _bounded(text, begin, match.start())
        begin = match.end()
    yield from _bounded(text, begin, len(text))


def _bounded(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """A stretch in pieces no longer than a sentence may be, cut at white space where there is any."""
    while end - begin > _LONGEST_SENTENCE:
        cut = text.rfind(" ", begin + 1, begin + _LONGEST_SENTENCE)
        cut = cut if cut > 0 else begin + _LONGEST_SENTENCE
        yield begin, cut
        begin = cut
    yield begin, end


def _plain(text: str) -> str:
    """Without marks of emphasis, and every run of white space as one space."""
    return " ".join(_BOLD.sub("", text.replace(_PADDING, "")).split())


def _from_json(raw: str) -> str | None:
    """The words of a JSON object or list as headed lines; None for a text that is no such thing."""
    body = raw.strip()
    if fence := re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", body, re.DOTALL | re.IGNORECASE):
        body = fence.group(1)
    if not body.startswith(("{", "[")):
        return None
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return "\n".join(_told(value, 0)) if isinstance(value, dict | list) else None


def _placed(sentences: list[Sentence], raw: str) -> list[Sentence]:
    """The sentences of a JSON text with their places in it; the whole text for one that is written otherwise there."""
    found, at = [], 0
    for sentence in sentences:
        written = (sentence.text, json.dumps(sentence.text)[1:-1], sentence.text.replace(" ", "_"))
        start, words = next(((raw.find(w, at), w) for w in written if raw.find(w, at) >= 0), (-1, ""))
        at = start + len(words) if start >= 0 else at
        found.append(replace(sentence, start=max(start, 0), end=at if start >= 0 else len(raw)))
    return found


def _told(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            words = str(key).replace("_", " ").strip()
            if isinstance(inner, dict | list) and depth < 20:
                yield f"## {words}"
                yield from _told(inner, depth + 1)
            else:
                yield f"## {words}\n{_scalar(inner)}"
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, dict | list) and depth < 20:
                yield from _told(inner, depth + 1)
            else:
                yield f"- {_scalar(inner)}"


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
