"""Narratives and images for the labelling tests, harmless and hostile."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from annotators.label_studio.project import create_project, project_settings
from annotators.label_studio.screen import labelling_config
from annotators.label_studio.server import Server
from annotators.label_studio.tasks import export_image, image_name, image_url, opaque_key, task_of
from schemas.narrative import Conclusion, Differential, Finding, Narrative

SECRET = b"a secret of the tests"
#: What no page, task or address may say.
TELLING = ("ham10000", "ISIC_0024306", "textbook", "rubric/4", "sneaky-teacher", "lesion_17.jpg")

HOSTILE = (
    "<script>window.pwned = 1</script>",
    '<img src=x onerror="window.pwned = 1">',
    '<iframe srcdoc="<script>parent.pwned = 1</script>"></iframe>',
    "![x](javascript:window.pwned=1) [y](javascript:window.pwned=1) **bold**",
    "$key $image {{constructor.constructor('window.pwned=1')()}} ${window.pwned=1}",
    "]]> &lt;b&gt; & \"quoted\" 'single' <!-- comment --> </View>",
)


def narrative(name: str = "Melanoma", *, extra: tuple[str, ...] = (), long: bool = False) -> Narrative:
    """A narrative of ordinary length, with ``extra`` findings; ``long``: of about 100 kB."""
    lines = tuple(f"{i}" + " wide dark brown network with notched edge" * 14 for i in range(8)) if long else ()
    names = [f"Look-alike {i}" for i in range(12 if long else 0)]
    return Narrative(
        context_used=("age: 62 years", "sex: male", "site: upper back"),
        findings=tuple(
            Finding(origin="image", text=text)
            for text in ("asymmetric patch of 9 mm in three shades of brown", "notched edge at the lower left", *extra)
        ),
        differential=(
            Differential(
                diagnosis=name, taxonomy_id="melanoma", evidence_for=("network and veil",), evidence_against=()
            ),
            Differential(
                diagnosis="Dysplastic naevus", taxonomy_id="dysplastic_nevus", evidence_for=("flat with a network",),
                evidence_against=("several colours are unusual",),
            ),
            *(
                Differential(diagnosis=n, taxonomy_id="nevus", evidence_for=lines, evidence_against=lines)
                for n in names
            ),
        ),
        conclusion=Conclusion(
            diagnosis=name, taxonomy_id="melanoma", malignancy="malignant", certainty="histopathology",
            rationale=f"{name} is favoured because network, veil and growth come together.",
        ),
        limitations=("A photograph does not show thickness.", "The rest of the skin was not seen."),
        next_step="Refer urgently for excision; examine the whole skin and the lymph nodes.",
    )  # fmt: skip


def picture(width: int = 600, height: int = 450, shade: int = 120) -> bytes:
    """A JPEG with a dark patch."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, height), (230, 180, 160))
    box = (width // 3, height // 3, 2 * width // 3, 2 * height // 3)
    ImageDraw.Draw(image).ellipse(box, fill=(shade, 70, 50))
    data = io.BytesIO()
    image.save(data, "JPEG")
    return data.getvalue()


def project_of(
    server: Server, client: Any, title: str, narratives: list[Narrative], raters: int = 2, **told: str
) -> int:
    """A project with one task per narrative, each with an image of its own; ``told``: note and feedback of the last."""
    settings = project_settings(title, labelling_config(), raters)
    project = create_project(client, settings, server.document_root)
    tasks = []
    for i, text in enumerate(narratives):
        sizes = ((600, 450), (450, 700))[i % 2]
        name = image_name(SECRET, f"{title} {i} ham10000:ISIC_0024306 lesion_17.jpg", ".jpg")
        export_image(picture(*sizes, shade=60 + 10 * (i % 9)), Path(server.document_root), name)
        tasks.append(task_of(text, image_url(name), opaque_key(SECRET, f"sneaky-teacher {title} {i}", "r1", 1)))
    tasks[-1]["data"] |= told
    client.projects.import_tasks(id=project, request=tasks, request_options={"max_retries": 0})
    return project
