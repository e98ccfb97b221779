"""A Label Studio project for one labelling screen: how it is set up, and where its images are served from.

A screen is never edited in place, since answers are read with the screen they were given on: its digest stands in the
project's title and description.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotators.label_studio.instruction import expert_instruction
from annotators.label_studio.screen import assert_config, config_digest
from annotators.label_studio.tasks import IMAGES, PREFILL
from schemas.errors import UserError

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

#: Label Studio takes titles of at most so many characters.
_LONGEST_TITLE = 50
_REQUEST: dict[str, Any] = {"max_retries": 0, "timeout_in_seconds": 600}


def project_settings(title: str, config: str, raters: int = 2) -> dict[str, Any]:
    """The settings of a project in which ``raters`` people answer each task, without seeing each other's answers."""
    assert_config(config)
    digest = config_digest(config)
    whole = f"{title} [{digest}]"
    if len(whole) > _LONGEST_TITLE or not title.strip():
        raise UserError(f"{title!r} is no title: give one of 1 to {_LONGEST_TITLE - len(digest) - 3} characters")
    return {
        "title": whole,
        "description": f"Labelling screen {digest}",
        "label_config": config,
        "expert_instruction": expert_instruction(),
        "show_instruction": True,
        "maximum_annotations": raters,
        "show_skip_button": False,
        "enable_empty_annotation": False,
        "show_collab_predictions": True,
        "show_annotation_history": False,
        "model_version": PREFILL,
    }


def create_project(client: LabelStudio, settings: dict[str, Any], document_root: Path | None = None) -> int:
    """Make the project and return its id; with ``document_root``, let the server show the images below it."""
    project = client.projects.create(**settings, request_options=_REQUEST)
    assert project.id is not None
    if document_root is not None:
        folder = str(document_root / IMAGES)
        client.import_storage.local.create(
            project=project.id,
            path=folder,
            use_blob_urls=True,
            request_options=_REQUEST,
        )
    return int(project.id)
