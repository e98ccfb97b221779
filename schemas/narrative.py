"""The Narrative: one standard layout for every diagnostic text, whoever wrote it.

Teachers, raters and trainers meet in this one model. It is kept as JSON and shown as headed sections, plain or inside
``<think>`` and ``<answer>`` tags; both renderings parse back to the equal object. That exactness costs freedom: every
text is one stripped line without control characters or those tags, and every length and list is bounded, which also
makes the JSON schema usable for constrained decoding. The differential holds the favoured diagnosis too, so that the
reasoning can be judged with the conclusion hidden. A first impression that was given up is a part of its own, since a
reader must see that it was held, why, and what turned it; without one its section is left out, so a text without a
revision looks as it always did.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from schemas.tables import LABEL_CERTAINTIES
from schemas.taxonomy import MALIGNANCIES

Origin = Literal["reported", "typical", "image"]

#: What the headed sections are called, in order; those before the conclusion are the reasoning, the others the answer.
SECTIONS = ("Context", "First impression", "Findings", "Differential", "Conclusion", "Limitations", "Next step")
_REVISION = "First impression"
_N_ANSWER = 3
_NOTHING = "(none)"
_TAG = re.compile(r"(</?(?:think|answer)>)", re.IGNORECASE)
#: Unicode's control characters, line and paragraph separators, and lone surrogates.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
#: One line as the narrative holds it, less the tags, for constrained decoders: no lookahead, so every engine takes it.
LINE_PATTERN = rf"^[^\s{_CONTROL}](?:[^{_CONTROL}]*[^\s{_CONTROL}])?$"
_NODE_ID = re.compile(r"[a-z0-9][a-z0-9_]*")
_NODE_ID_LENGTH = 100
#: Stands where an imported text names a diagnosis that the taxonomy lacks, or none; never the id of a node.
UNMAPPED = "unmapped"
#: Stands for the diagnosis of a text that settles on none.
NO_DIAGNOSIS = "no diagnosis stated"


class NarrativeParseError(ValueError):
    """A text that is not in the layout of a rendering; ``line`` counts from 1, ``expected`` says what belongs there."""

    def __init__(self, line: int, expected: str, found: str) -> None:
        self.line = line
        self.expected = expected
        super().__init__(f"line {line}: expected {expected}, found {found}")


def _one_line(max_length: int) -> AfterValidator:
    """Accepts one line of 1 to ``max_length`` characters that every rendering can carry unchanged."""

    def check(text: str) -> str:
        if not text:
            raise ValueError("the text is empty")
        if len(text) > max_length:
            raise ValueError(f"the text has {len(text)} characters; at most {max_length} are allowed")
        if text != text.strip():
            raise ValueError("the text begins or ends with white space")
        if bad := _FORBIDDEN.search(text):
            code = ord(bad.group())
            what = "a control character" if code < 0xA0 else "a line break" if code < 0xD800 else "a lone surrogate"
            raise ValueError(f"the text holds {what} (U+{code:04X}); it must be one plain line")
        if tag := _TAG.search(text):
            raise ValueError(f"the text holds the tag {tag.group()}")
        return text

    return AfterValidator(check)


def _line_schema(max_length: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "minLength": 1, "maxLength": max_length, "pattern": LINE_PATTERN})


def _check_node_id(text: str) -> str:
    if len(text) > _NODE_ID_LENGTH or not _NODE_ID.fullmatch(text):
        raise ValueError(f"{text[:_NODE_ID_LENGTH]!r} is not a taxonomy id (lower-case letters, digits, underscores)")
    return text


def _one_of(words: tuple[str, ...], what: str) -> AfterValidator:
    def check(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text[:40]!r} is not a {what}; it is one of {', '.join(words)}")
        return text

    return AfterValidator(check)


def _enum(words: tuple[str, ...]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(words)})


Name = Annotated[str, _one_line(120), _line_schema(120)]
Line = Annotated[str, _one_line(600), _line_schema(600)]
LongLine = Annotated[str, _one_line(1200), _line_schema(1200)]
NodeId = Annotated[
    str,
    AfterValidator(_check_node_id),
    WithJsonSchema({"type": "string", "maxLength": _NODE_ID_LENGTH, "pattern": f"^{_NODE_ID.pattern}$"}),
]
Certainty = Annotated[str, _one_of(LABEL_CERTAINTIES, "certainty"), _enum(LABEL_CERTAINTIES)]
Malignancy = Annotated[str, _one_of(MALIGNANCIES, "malignancy"), _enum(MALIGNANCIES)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)


class Finding(_Part):
    """A fact ``reported`` by the source, what is ``typical`` of a disease, or what was seen in the ``image``."""

    origin: Origin
    text: Line


class Differential(_Part):
    """One diagnosis considered, with what speaks for and against it."""

    diagnosis: Name
    taxonomy_id: NodeId
    evidence_for: Annotated[tuple[Line, ...], Field(max_length=8)]
    evidence_against: Annotated[tuple[Line, ...], Field(max_length=8)]


class FirstImpression(_Part):
    """A diagnosis thought of first and given up: what made it plausible, and what turned it."""

    diagnosis: Name
    taxonomy_id: NodeId
    evidence_for: Annotated[tuple[Line, ...], Field(min_length=1, max_length=8)]
    turned_by: Annotated[tuple[Line, ...], Field(min_length=1, max_length=8)]


class Conclusion(_Part):
    """The diagnosis settled on.

    ``malignancy``: a word of :data:`schemas.taxonomy.MALIGNANCIES`; ``certainty``: how sure the label behind it is, a
    word of :data:`schemas.tables.LABEL_CERTAINTIES`.
    """

    diagnosis: Name
    taxonomy_id: NodeId
    malignancy: Malignancy
    certainty: Certainty
    rationale: LongLine


class Narrative(_Part):
    """One diagnostic text. ``context_used``: the facts it relies on besides the image, as ``key: value`` lines.

    ``first_impression``: of a text that revises itself; the differential need not name that diagnosis again.
    ``next_step`` is None when an imported text advises nothing.
    """

    context_used: Annotated[tuple[Line, ...], Field(max_length=32)]
    first_impression: FirstImpression | None = None
    findings: Annotated[tuple[Finding, ...], Field(max_length=24)]
    differential: Annotated[tuple[Differential, ...], Field(max_length=16)]
    conclusion: Conclusion
    limitations: Annotated[tuple[Line, ...], Field(max_length=8)]
    next_step: LongLine | None = None

    @cached_property
    def weighed(self) -> tuple[Differential, ...]:
        """Every diagnosis argued: the first impression, against which speaks what turned it, and the differential."""
        first = self.first_impression
        if first is None:
            return self.differential
        entry = Differential(
            diagnosis=first.diagnosis,
            taxonomy_id=first.taxonomy_id,
            evidence_for=first.evidence_for,
            evidence_against=first.turned_by,
        )
        return (entry, *self.differential)


def narrative_json_schema() -> dict[str, Any]:
    """The JSON schema of a Narrative: every string and list bounded, no field left open; what is not there is null."""
    return Narrative.model_json_schema(mode="serialization")


def narrative_to_json(narrative: Narrative) -> str:
    """Canonical JSON: fields in the model's order, no white space, characters unescaped, without what is not there."""
    return json.dumps(narrative.model_dump(mode="json", exclude_none=True), ensure_ascii=False, separators=(",", ":"))


def narrative_from_json(text: str) -> Narrative:
    """The Narrative of a JSON text; :class:`pydantic.ValidationError` when it is none."""
    return Narrative.model_validate_json(text)


def render_sections(narrative: Narrative) -> str:
    """The narrative as headed sections with bullets; :func:`parse_sections` gives back the equal object."""
    return "\n\n".join(_rendered(narrative))


def render_tagged(narrative: Narrative) -> str:
    """The sections inside tags: context, findings and differential to think, the conclusion and its care to answer."""
    parts = _rendered(narrative)
    think, answer = "\n\n".join(parts[:-_N_ANSWER]), "\n\n".join(parts[-_N_ANSWER:])
    return f"<think>\n{think}\n</think>\n<answer>\n{answer}\n</answer>"


def rendered_narrative(text: str) -> Narrative | None:
    """The Narrative that ``text`` is a rendering or the JSON of; None for any other text."""
    try:
        if text.lstrip()[:1] == "{":
            return narrative_from_json(text)
        if f"## {SECTIONS[0]}" not in text:
            return None
        return parse_tagged(text) if "<think>" in text else parse_sections(text)
    except ValueError:  # a parse error, or pydantic's
        return None


def _rendered(narrative: Narrative) -> list[str]:
    end, first = narrative.conclusion, narrative.first_impression
    blocks: list[list[str] | None] = [
        [f"- {fact}" for fact in narrative.context_used],
        None if first is None else _first_lines(first),
        [f"- {finding.origin}: {finding.text}" for finding in narrative.findings],
        [line for entry in narrative.differential for line in _differential_lines(entry)],
        [
            f"- Diagnosis: {end.diagnosis} [{end.taxonomy_id}]",
            f"- Malignancy: {end.malignancy}",
            f"- Certainty: {end.certainty}",
            f"- Rationale: {end.rationale}",
        ],
        [f"- {limitation}" for limitation in narrative.limitations],
        [] if narrative.next_step is None else [f"- {narrative.next_step}"],
    ]
    return [
        "\n".join([f"## {title}", *(lines or [_NOTHING])])
        for title, lines in zip(SECTIONS, blocks, strict=True)
        if lines is not None
    ]


def _first_lines(first: FirstImpression) -> list[str]:
    return [
        f"- {first.diagnosis} [{first.taxonomy_id}]",
        *(f"  - for: {text}" for text in first.evidence_for),
        *(f"  - turned by: {text}" for text in first.turned_by),
    ]


def _differential_lines(entry: Differential) -> list[str]:
    return [
        f"- {entry.diagnosis} [{entry.taxonomy_id}]",
        *(f"  - for: {text}" for text in entry.evidence_for),
        *(f"  - against: {text}" for text in entry.evidence_against),
    ]


def parse_sections(text: str) -> Narrative:
    """The Narrative that :func:`render_sections` wrote; :class:`NarrativeParseError` names the line otherwise."""
    return _parse(_Reader(text, split_tags=False), tagged=False)


def parse_tagged(text: str) -> Narrative:
    """The Narrative that :func:`render_tagged` wrote; :class:`NarrativeParseError` names the line otherwise."""
    return _parse(_Reader(text, split_tags=True), tagged=True)


class _Reader:
    """The non-blank lines of a text, each with its number; tags stand on lines of their own."""

    def __init__(self, text: str, *, split_tags: bool) -> None:
        self.lines: list[tuple[int, str]] = []
        for number, line in enumerate(text.split("\n"), start=1):
            for piece in _TAG.split(line) if split_tags else [line]:
                if piece.strip():
                    self.lines.append((number, piece.rstrip()))
        self.end = text.count("\n") + 1
        self.position = 0

    def peek(self) -> str | None:
        return self.lines[self.position][1] if self.position < len(self.lines) else None

    def fail(self, expected: str, back: int = 0) -> NarrativeParseError:
        at = self.position - back
        if at >= len(self.lines):
            return NarrativeParseError(self.end, expected, "the end of the text")
        number, line = self.lines[at]
        return NarrativeParseError(number, expected, repr(line if len(line) <= 60 else line[:57] + "..."))

    def invalid(self, error: ValidationError) -> NarrativeParseError:
        """The first thing a model refused, at the line that holds it."""
        first = error.errors()[0]
        value, where = first["input"], ".".join(str(part) for part in first["loc"])
        ends = (str(value), f"{value}]")
        at = (n for n, line in self.lines if isinstance(value, str) and (line.endswith(ends) or f" {value} [" in line))
        message = first["msg"].removeprefix("Value error, ")
        return NarrativeParseError(next(at, self.end), f"a valid {where}", f"that {message}")

    def literal(self, line: str) -> None:
        if self.peek() != line:
            raise self.fail(repr(line))
        self.position += 1

    def after(self, prefix: str) -> str | None:
        """The rest of the next line if it begins with ``prefix`` and says something; the line is then read."""
        line = self.peek()
        if line is None or not line.startswith(prefix) or len(line) == len(prefix):
            return None
        self.position += 1
        return line[len(prefix) :]

    def required(self, prefix: str) -> str:
        rest = self.after(prefix)
        if rest is None:
            raise self.fail(f"{prefix!r} and a text")
        return rest

    def bullets(self, prefix: str) -> list[str]:
        texts: list[str] = []
        while (text := self.after(prefix)) is not None:
            texts.append(text)
        return texts


def _parse(reader: _Reader, *, tagged: bool) -> Narrative:
    if tagged:
        reader.literal("<think>")
    context = _section(reader, "Context", lambda: reader.bullets("- "))
    first = _first_impression(reader) if reader.peek() == f"## {_REVISION}" else None
    findings = _section(reader, "Findings", lambda: [_finding(reader, text) for text in _each(reader)])
    differential = _section(reader, "Differential", lambda: [_differential(reader, text) for text in _each(reader)])
    if tagged:
        reader.literal("</think>")
        reader.literal("<answer>")
    reader.literal("## Conclusion")
    diagnosis, taxonomy_id = _named(reader, reader.required("- Diagnosis: "))
    conclusion = {
        "diagnosis": diagnosis,
        "taxonomy_id": taxonomy_id,
        "malignancy": reader.required("- Malignancy: "),
        "certainty": reader.required("- Certainty: "),
        "rationale": reader.required("- Rationale: "),
    }
    limitations = _section(reader, "Limitations", lambda: reader.bullets("- "))
    reader.literal("## Next step")
    next_step = None
    if reader.peek() == _NOTHING:
        reader.literal(_NOTHING)
    else:
        next_step = reader.required("- ")
    if tagged:
        reader.literal("</answer>")
    if reader.peek() is not None:
        raise reader.fail("the end of the text")
    try:
        return Narrative(
            context_used=context,
            first_impression=first,  # type: ignore[arg-type]
            findings=findings,
            differential=differential,
            conclusion=conclusion,  # type: ignore[arg-type]
            limitations=limitations,
            next_step=next_step,
        )
    except ValidationError as error:
        raise reader.invalid(error) from error


def _each(reader: _Reader) -> Any:
    while (text := reader.after("- ")) is not None:
        yield text


def _section(reader: _Reader, title: str, read: Any) -> Any:
    reader.literal(f"## {title}")
    if reader.peek() == _NOTHING:
        reader.literal(_NOTHING)
        return []
    items = read()
    if not items:
        raise reader.fail(f"a bullet or {_NOTHING} under '## {title}'")
    return items


def _first_impression(reader: _Reader) -> dict[str, Any]:
    reader.literal(f"## {_REVISION}")
    diagnosis, taxonomy_id = _named(reader, reader.required("- "))
    told: dict[str, Any] = {"diagnosis": diagnosis, "taxonomy_id": taxonomy_id}
    for name, prefix in (("evidence_for", "  - for: "), ("turned_by", "  - turned by: ")):
        told[name] = [reader.required(prefix), *reader.bullets(prefix)]
    return told


def _finding(reader: _Reader, text: str) -> dict[str, str]:
    origin, colon, rest = text.partition(": ")
    if not colon or origin not in ("reported", "typical", "image"):
        raise reader.fail("'- reported: ', '- typical: ' or '- image: ' and a text", back=1)
    return {"origin": origin, "text": rest}


def _differential(reader: _Reader, text: str) -> dict[str, Any]:
    diagnosis, taxonomy_id = _named(reader, text)
    evidence_for = reader.bullets("  - for: ")
    return {
        "diagnosis": diagnosis,
        "taxonomy_id": taxonomy_id,
        "evidence_for": evidence_for,
        "evidence_against": reader.bullets("  - against: "),
    }


def _named(reader: _Reader, text: str) -> tuple[str, str]:
    diagnosis, bracket, rest = text.rpartition(" [")
    if not bracket or not rest.endswith("]"):
        raise reader.fail("a diagnosis and its taxonomy id, such as 'Melanoma [melanoma]'", back=1)
    return diagnosis, rest[:-1]
