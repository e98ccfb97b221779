"""A study of made-up narratives, raters with accounts of their own, and their answers through the real interface."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import polars as pl
from PIL import Image

from annotators.label_studio.ledger import Ledger
from annotators.label_studio.listing import tasks_of
from annotators.label_studio.queue import CANDIDATES, EXTRAS
from annotators.label_studio.raters import Rater, pseudonyms
from annotators.label_studio.server import Server
from annotators.label_studio.session import Session, opened
from annotators.label_studio.study import Material
from schemas.config import AnnotateSettings
from schemas.narrative import Conclusion, Differential, Finding, Narrative, narrative_to_json
from schemas.tables import DIMENSIONS

SECRET = b"a secret of the tests"
PASSWORD = "only for this test 1"


def narrative(number: int) -> Narrative:
    """One of many that differ in a few words, of about 1 kB."""
    return Narrative(
        context_used=(f"age: {20 + number % 60} years", "site: upper back"),
        findings=(
            Finding(origin="image", text=f"asymmetric patch of {3 + number} mm in three shades of brown"),
            Finding(origin="typical", text="a network with wide, dark meshes that end abruptly at the edge"),
        ),
        differential=(
            Differential(diagnosis="Melanoma", taxonomy_id="melanoma", evidence_for=("network",), evidence_against=()),
            Differential(
                diagnosis="Dysplastic naevus", taxonomy_id="dysplastic_nevus", evidence_for=("flat",),
                evidence_against=("several colours",),
            ),
        ),
        conclusion=Conclusion(
            diagnosis="Melanoma", taxonomy_id="melanoma", malignancy="malignant", certainty="histopathology",
            rationale=f"Melanoma is favoured because network and growth come together in case {number}.",
        ),
        limitations=("A photograph does not show thickness.",),
        next_step="Refer urgently for excision.",
    )  # fmt: skip


@cache
def _payload(digest: str, kilobytes: int) -> bytes:
    colour = tuple(bytes.fromhex(hashlib.sha256(digest.encode()).hexdigest()[:6]))
    sink = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(sink, "JPEG")
    return sink.getvalue() + bytes(1024 * kilobytes)


def made_up(cases: int, extras: int = 0, kilobytes: int = 0) -> Material:
    """``cases`` narratives to score, of as many cases, and ``extras`` each for practice, gold and planted faults."""
    names = [f"n{number:05d}" for number in range(cases)]
    rows = [
        (name, f"c{name}", f"d{number % 7}", f"s{number % 3}", "I-II", 3.0 + number % 10 / 5, number % 5 / 10,
         0.1 if number % 4 == 0 else None, [], [])
        for number, name in enumerate(names)
    ]  # fmt: skip
    others = [
        (f"x{occasion}{fault}{number}", f"cx{occasion}{fault}{number}", occasion, fault, [], None)
        for occasion, fault in (("practice", None), ("gold", None), ("gold", "false_reassurance"))
        for number in range(extras)
    ]
    texts: dict[tuple[str, str | None], str] = {(n, None): narrative_to_json(narrative(i)) for i, n in enumerate(names)}
    texts |= {(row[0], row[3]): narrative_to_json(narrative(90_000 + i)) for i, row in enumerate(others)}
    images = {f"c{name}": f"image-{name}" for name in names} | {row[1]: f"image-{row[0]}" for row in others}
    return Material(
        pl.DataFrame(rows, schema=CANDIDATES, orient="row"), pl.DataFrame(others, schema=EXTRAS, orient="row"),
        texts, images, dict.fromkeys(images, "Melanoma"),
        lambda digests: {digest: _payload(digest, kilobytes) for digest in digests},
        lambda: dict.fromkeys(images.values(), ".jpg"),
    )  # fmt: skip


def settings_for(server: Server, **changes: Any) -> AnnotateSettings:
    """Settings for a local server that keeps its name when its address changes."""
    told = {"url": server.url, "server": "test", "document_root": str(server.document_root), "raters_per_case": 2}
    return AnnotateSettings(**(told | {"practice": 0, "repeat_share": 0.0} | changes))


def panel(count: int, mark: str, **changes: Any) -> dict[str, Rater]:
    """Pseudonym -> rater; ``mark`` makes their addresses unlike those of other tests."""
    raters = [
        Rater(email=f"rater-{number}-{mark}@example.org", kind="simulated", credential="other", **changes)
        for number in range(count)
    ]
    return dict(pseudonyms(raters, SECRET))


def sign_up(server: Server, raters: Iterable[Rater]) -> dict[str, str]:
    """Accounts by invitation; e-mail -> personal access token."""
    with opened(server.url, server.token) as session:
        link = re.sub(r"^https?://[^/]+", "", session.get("api/invite")["invite_url"])
    tokens = {}
    for rater in raters:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as browser:
            browser.get(link)
            form = {"email": rater.email, "password": PASSWORD, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
            assert browser.post(link, data=form).status_code == 302
            told = browser.post("/api/token", headers={"X-CSRFToken": browser.cookies["csrftoken"]})
            tokens[rater.email] = told.json()["token"]
    return tokens


def answer(scores: Sequence[int] = (4, 4, 4, 4, 4, 4), decision: str = "certify", **texts: str) -> list[dict[str, Any]]:
    """A result as the labelling screen would send it."""
    given = {**dict(zip(DIMENSIONS, map(str, scores), strict=True)), "decision": decision}
    items = [
        {"from_name": name, "to_name": "image", "type": "choices", "value": {"choices": [value]}, "id": name}
        for name, value in given.items()
    ]
    return items + [
        {"from_name": name, "to_name": "image", "type": "textarea", "value": {"text": [text]}, "id": name}
        for name, text in texts.items()
    ]


def give(session: Session, task: int, result: list[dict[str, Any]], seconds: float = 12.0) -> int:
    """Answer a task; returns the annotation's number."""
    return int(session.post(f"api/tasks/{task}/annotations/", {"result": result, "lead_time": seconds})["id"])


def change(session: Session, annotation: int, **fields: Any) -> None:
    """Change an annotation, as its rater or somebody else would."""
    session._send("PATCH", f"api/annotations/{annotation}/", json=fields)


def answer_all(
    server: Server, ledger: Ledger, name: str, raters: Mapping[str, Rater], tokens: Mapping[str, str], threads: int = 3
) -> dict[str, int]:
    """Every rater answers every task of the own project; opaque key -> number of the annotation."""
    given: dict[str, int] = {}
    for record in ledger.projects(name):
        with opened(server.url, tokens[raters[record.rater].email]) as session:
            tasks = tasks_of(session, record.project_id, "id,data")
            with ThreadPoolExecutor(threads) as pool:
                numbers = pool.map(lambda task: give(session, task["id"], answer()), tasks)
            given |= {task["data"]["key"]: number for task, number in zip(tasks, numbers, strict=True)}
    return given


def import_answered(
    session: Session, ledger: Ledger, name: str, accounts: Mapping[str, int], each: int
) -> list[tuple[Any, ...]]:
    """Turn every task of every project into one that comes with ``each`` annotations; quick, for simulated raters.

    Returns what was given, sorted: key, six scores, seconds.
    """
    given = []
    for record in ledger.projects(name):
        tasks = tasks_of(session, record.project_id, "id,data")
        session.post("api/dm/actions", {"selectedItems": {"all": True, "excluded": []}, "filters": {
            "conjunction": "and", "items": []}}, id="delete_tasks", project=record.project_id)  # fmt: skip
        by = accounts[record.rater]
        answered = []
        for at, task in enumerate(tasks):
            told = [((at % 6, (at + copy) % 6, 4, 3, 5, at // 6 % 6), 10.0 + at + copy / 4) for copy in range(each)]
            given += [(task["data"]["key"], *scores, seconds) for scores, seconds in told]
            annotations = [{"result": answer(s), "completed_by": by, "lead_time": seconds} for s, seconds in told]
            answered.append({"data": task["data"], "annotations": annotations})
        for at in range(0, len(answered), 300):
            session.post(f"api/projects/{record.project_id}/import", answered[at : at + 300])
    return sorted(given)


def ledger_in(folder: Path) -> Ledger:
    """The ledger of a workspace below ``folder``."""
    return Ledger(str(folder / "workspace"))
