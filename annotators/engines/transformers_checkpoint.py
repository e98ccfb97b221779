"""Opens a vision-language checkpoint from a directory: model, processor, what ends an answer, a digest to name it by.

Nothing is fetched: a checkpoint is a directory that somebody put there, and only safetensors are read, since a pickle
can run code. Torchvision is not needed: processors read images with Pillow, and the video half, which does need it, is
left out where it is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from schemas.errors import UserError

_SHAPING = ("*.json", "*.jinja", "*.model", "*.txt")  # settings, tokenizer, templates
_TENSOR_HEAD = 4096  # bytes of every tensor that the digest reads
_LAYERS = {"full_attention", "sliding_attention"}


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint.

    ``width``: tokens that the model scores, more than its tokenizer has. ``context``: tokens of prompt and answer.
    ``ends``: ids of the tokens that end an answer. ``revision``: see :func:`revision_of`.
    """

    directory: Path
    family: str
    revision: str
    model: Any
    processor: Any
    width: int
    context: int
    ends: tuple[int, ...]

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of its processor."""
        return self.processor.tokenizer


def open_checkpoint(directory: Path, device: str, dtype: str, attention: str | None) -> Checkpoint:
    """Load model and processor.

    ``dtype``: a torch dtype by name. ``attention``: an implementation that transformers knows, None for its choice.
    Raises a UserError for what is no checkpoint of a vision-language model that writes text.
    """
    torch = needed()
    from transformers import AutoModelForImageTextToText
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    if not (directory / "config.json").is_file():
        raise UserError(f"{directory} is no checkpoint: it holds no config.json; name the directory of a saved model")
    if not list(directory.glob("*.safetensors")):
        raise UserError(f"{directory} holds no *.safetensors, the only weights that are read; convert the checkpoint")
    try:
        processor = _processor(directory)
        model: Any = AutoModelForImageTextToText.from_pretrained(
            directory, local_files_only=True, use_safetensors=True, dtype=getattr(torch, dtype),
            attn_implementation=attention,
        )  # fmt: skip
    except (OSError, ValueError, ImportError, KeyError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{directory} cannot be opened as a model that reads images and writes text: {said}") from error
    text = model.config.get_text_config()
    if unknown := set(getattr(text, "layer_types", None) or ()) - _LAYERS:
        raise UserError(
            f"{directory} has layers that this engine cannot batch ({', '.join(sorted(unknown))}); "
            "run it behind a server and name that as the engine"
        )
    return Checkpoint(
        directory, model.config.model_type, revision_of(directory), model.to(device).eval(), processor,
        model.get_output_embeddings().weight.shape[0], text.max_position_embeddings, _ends(model, processor.tokenizer),
    )  # fmt: skip


def needed() -> Any:
    """Torch, or the sentence that says how to get it."""
    try:
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        raise UserError(f"models in process need the extra vlm ({error}): pip install 'dermcot[vlm]'") from error
    return torch


def without_video() -> None:
    """Let processors be opened for images alone where torchvision is missing; where it is there, nothing changes."""
    from transformers import processing_utils
    from transformers.utils.import_utils import is_torchvision_available

    mixin: Any = processing_utils.ProcessorMixin
    held: Any = mixin.__dict__["get_attributes"].__func__
    if is_torchvision_available() or held.__module__ == __name__:
        return

    def images_alone(cls: Any) -> list[str]:
        return [name for name in held(cls) if name != "video_processor"]

    mixin.get_attributes = classmethod(images_alone)


def _processor(directory: Path) -> Any:
    from transformers import AutoProcessor

    without_video()
    processor: Any = AutoProcessor.from_pretrained(directory, local_files_only=True)  # type: ignore[no-untyped-call]
    if not hasattr(processor, "image_processor") or not getattr(processor, "chat_template", None):
        raise UserError(
            f"{directory} has no image processor or no chat template; copy those of the model beside its weights"
        )
    return processor


def _ends(model: Any, tokenizer: Any) -> tuple[int, ...]:
    ends: set[int] = set()
    for said in (
        model.generation_config.eos_token_id,
        model.config.get_text_config().eos_token_id,
        tokenizer.eos_token_id,
    ):
        ends.update(said if isinstance(said, list) else () if said is None else (said,))
    return tuple(sorted(ends))


def revision_of(directory: Path) -> str:
    """sha256 (hex) of settings, tokenizer, templates and weights.

    Of the weights it reads the header and the first bytes of every tensor: a fine-tune of the same model has another
    revision, and the digest of 15 GB takes a second.
    """
    digest = sha256()
    for file in sorted({file for pattern in _SHAPING for file in directory.glob(pattern)}):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    for file in sorted(directory.glob("*.safetensors")):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        for piece in _pieces(file):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = stream.read(size)
        yield header
        for name, tensor in sorted(json.loads(header).items()):
            if name != "__metadata__":
                begin, end = tensor["data_offsets"]
                stream.seek(8 + size + begin)
                yield stream.read(min(_TENSOR_HEAD, end - begin))


def devices() -> list[str]:
    """What a process can compute on: every GPU, else the CPU."""
    torch = needed()
    return [f"cuda:{nth}" for nth in range(torch.cuda.device_count())] or ["cpu"]


def memory(device: str) -> tuple[int, int]:
    """Bytes in use of a GPU, by whomever, and in all; zeros for what is no GPU."""
    if not device.startswith("cuda"):
        return 0, 0
    free, whole = needed().cuda.mem_get_info(device)
    return whole - free, whole
