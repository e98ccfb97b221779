"""What the ``vlm`` teacher asks: the candidates of a case, and the request of each step.

Only cleaned metadata enters a prompt, and none of it enters the observation. What depends on a case alone stands in the
user's turn, so that servers can reuse what they computed of the instructions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from annotators.case_facts import context_lines, prompt_fields
from annotators.engines.protocol import Image, Message, Request, Sampling
from annotators.vlm import prompts
from annotators.vlm.asking import Ask
from annotators.vlm.grounding import grounding
from annotators.vlm.observation import Observation, observation_schema
from annotators.vlm.writing import names, narrative_schema
from corpus.digests import digest_of
from schemas.cards import KnowledgeCard
from schemas.taxonomy import Taxonomy
from schemas.teacher_config import VlmSettings

VERSION = "vlm/1"


@dataclass(frozen=True)
class Teacher:
    """What the teacher asks with. ``load``: bytes of the image of a digest; ``shaped_by``: of the engine's settings;
    ``count``: told of narratives ``kept``, ``lost`` and ``settled``."""

    settings: VlmSettings
    model: str
    revision: str
    ask: Ask
    load: Callable[[str], bytes]
    taxonomy: Taxonomy
    cards: Mapping[str, KnowledgeCard]
    shaped_by: tuple[str, ...] = ()
    count: Callable[..., None] = lambda **more: None


@dataclass(frozen=True)
class Candidate:
    """One narrative to be: ``id`` is a digest of everything that shapes it and is known beforehand."""

    id: str
    case: Mapping[str, Any]
    number: int
    blind: bool
    context: tuple[str, ...]
    known: Mapping[str, str]


def teacher_revision(revision: str) -> str:
    """What the teacher is: its version, the model's revision and the prompts."""
    said = digest_of([prompts.digest(name) for name in prompts.PROMPTS])[:12]
    return f"{VERSION}+{revision}+prompts.{said}"


def candidates_of(case: Mapping[str, Any], n: int, teacher: Teacher) -> list[Candidate]:
    """The first ``n`` candidates of a case; candidate i is the same however many are asked for."""
    told = prompt_fields({**case, "concepts": ()})  # others looked at the image for those; here only the model does
    giveaway = _names(case["node_id"], teacher.taxonomy)
    context = tuple(line for line in context_lines(told).values() if not giveaway.search(line))
    settings = teacher.settings
    shaped = [teacher.model, teacher_revision(teacher.revision), teacher.shaped_by, settings.shaping(), told]
    card = grounding(case, teacher.taxonomy, teacher.cards)
    first = int(digest_of("blind", settings.seed, told)[:8], 16) / 16**8  # of no threshold, or answers would be lost
    found = []
    for number in range(n):
        # evenly spread: of n candidates of any case, share * n are blind, rounded up or down by the case's own draw
        blind = int((number + 1) * settings.blind_share + first) > int(number * settings.blind_share + first)
        known = names(None if blind else case["node_id"], teacher.taxonomy, teacher.cards)
        name = digest_of(case["case_id"], shaped, number, blind, list(known), None if blind else card)[:32]
        found.append(Candidate(name, case, number, blind, context, known))
    return found


@lru_cache(maxsize=1024)
def _names(node_id: str, taxonomy: Taxonomy) -> re.Pattern[str]:
    """What the diagnosis, its kinds and what it is a kind of are called: a dataset's free text may tell it anywhere."""
    nodes = (node for node in taxonomy.nodes if taxonomy.on_one_branch(node.id, node_id))
    terms = sorted({term for node in nodes for term in (node.name, *node.synonyms) if len(term) > 3})
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, terms))})\b", re.IGNORECASE)


def observe(teacher: Teacher, case: Mapping[str, Any], attempt: int) -> Request:
    """What the image shows, asked of somebody who is told nothing else."""
    parts = (_image(teacher, case), "Report what this image shows.")
    return _request(teacher, case, "observe", prompts.rendered("observe"), parts, observation_schema(), 0, attempt)


def reason(teacher: Teacher, candidate: Candidate, observation: Observation, attempt: int) -> Request:
    """What to make of the image: which diagnosis, or why the one that is known."""
    case = candidate.case
    told = [prompts.data("What you observed", observation.lines())]
    if candidate.context:
        told.append(prompts.data("What is on record", candidate.context))
    if candidate.blind:
        system = prompts.rendered("reason_blind")
    else:
        system = prompts.rendered("reason_grounded", certainty=case["label_certainty"].replace("_", " "))
        told.append(f"The diagnosis: {teacher.taxonomy.node(case['node_id']).name}")
        told.append("What is known of it:\n" + "\n".join(grounding(case, teacher.taxonomy, teacher.cards)))
    parts = (_image(teacher, case), "\n\n".join(told))
    step: prompts.Prompt = "reason_blind" if candidate.blind else "reason_grounded"
    return _request(teacher, case, step, system, parts, None, candidate.number, attempt)


def write(teacher: Teacher, candidate: Candidate, rationale: str, attempt: int) -> Request:
    """A rationale in the standard layout."""
    known = None if candidate.blind else teacher.taxonomy.node(candidate.case["node_id"]).name
    system = prompts.rendered("write", known=known)
    words = "Names of diagnoses: " + "; ".join(candidate.known)
    parts = (prompts.data("The reasoning", rationale.splitlines()), words)
    schema = narrative_schema(candidate.known, blind=candidate.blind)
    return _request(teacher, candidate.case, "write", system, parts, schema, candidate.number, attempt)


def _request(
    teacher: Teacher,
    case: Mapping[str, Any],
    prompt: prompts.Prompt,
    system: str,
    parts: tuple[str | Image, ...],
    schema: Mapping[str, Any] | None,
    candidate: int,
    attempt: int,
) -> Request:
    settings = teacher.settings
    sampling = Sampling(
        temperature=settings.temperature if attempt or prompt != "observe" else 0.0,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        seed=int(digest_of("seed", settings.seed, case["case_id"], prompt, candidate, attempt)[:8], 16) >> 1,
    )
    messages = (Message("system", (system,)), Message("user", parts))
    shaped = (prompts.digest(prompt), *teacher.shaped_by)
    return Request(teacher.model, teacher.revision, messages, sampling, schema, shaped, case["external_processing"])


def _image(teacher: Teacher, case: Mapping[str, Any]) -> Image:
    """The case's first image, which is also the one that dermatologists are shown."""
    digest = case["image_digests"][0]
    return Image(digest, partial(teacher.load, digest))
