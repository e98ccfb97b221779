"""Whether a checkpoint runs in this process: packages, device, the checkpoint itself, and one answer of it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flows.doctor_trial import Check, judged, refused, trial_request
from schemas.engine_config import TransformersSettings
from schemas.errors import UserError
from schemas.teacher_config import VlmSettings

_PACKAGES = ("torch", "transformers", "llguidance")
_INSTALL = "pip install 'dermcot[vlm]'"


def model_in_process(settings: VlmSettings, say: Callable[[str], None]) -> Iterator[Check]:
    """Checks of a teacher whose model runs here, each as soon as it is done; ``say`` is told what takes long."""
    assert settings.transformers is not None
    say("importing torch and transformers")
    packages = _packages()
    yield packages
    if packages.state == "missing":
        return
    found = device_checks(settings.transformers)
    yield from found
    if any(device.state == "missing" for device in found):
        return
    directory = Path(settings.model)
    if not directory.is_dir():
        yield _no_directory(settings.model, directory)
        return
    yield from _asked(settings, settings.transformers, directory, say)


def _packages() -> Check:
    faults, there = [], []
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            faults.append(f"{error.name or name} is not installed")
        except Exception as error:  # a build for another machine fails as it likes
            faults.append(f"{name} cannot be imported ({_named(error)})")
        else:
            there.append(f"{name} {importlib.metadata.version(name)}")
    if faults:
        return Check("packages", "missing", "; ".join(faults), _INSTALL)
    return Check("packages", "ok", ", ".join(there))


def device_checks(settings: TransformersSettings) -> list[Check]:
    """What the model would run on, with the memory of each GPU; each has a process and a copy of the model."""
    from annotators.engines.transformers_checkpoint import devices

    return [_device(name, named=bool(settings.devices)) for name in settings.devices or devices()]


def _device(name: str, *, named: bool) -> Check:
    import torch

    field = "propose.vlm.transformers.devices"
    try:
        device = torch.device(name)
    except RuntimeError:
        return Check(
            "device", "missing", f"torch knows no device {name!r}", f"leave {field} out, or name cuda:0 or cpu"
        )
    if device.type == "cpu":
        return _cpu(named=named)
    if device.type != "cuda":
        return Check("device", "ok", f"{name}, as configured")
    n, nth = torch.cuda.device_count(), device.index or 0
    if nth >= n:
        lack = f"{name} is configured, and torch {torch.__version__} finds {n} GPU{'s' * (n != 1)}"
        todo = f"name those of cuda:0 to cuda:{n - 1} in {field}" if n else _no_gpu()
        return Check("device", "missing", lack, todo)
    try:
        free, total = torch.cuda.mem_get_info(nth)
    except RuntimeError as error:
        return Check("device", "missing", f"{name} cannot be used ({_named(error)})", "see nvidia-smi for who holds it")
    told = f"{name}, {torch.cuda.get_device_name(nth)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    return Check("device", "ok", told)


def _cpu(*, named: bool) -> Check:
    why = "as configured" if named else "since torch finds no GPU"
    todo = "leave propose.vlm.transformers.devices out to use every GPU" if named else _no_gpu()
    return Check("device", "warning", f"the CPU ({os.cpu_count()} cores), {why}: this is slow, hours where a GPU takes "
                                      "minutes", todo)  # fmt: skip


def _no_gpu() -> str:
    import torch

    if torch.version.cuda is None:
        return "this torch was built without CUDA: install one that was built for your GPU, or name a server as http"
    return "see whether nvidia-smi finds a GPU and CUDA_VISIBLE_DEVICES hides none, or name a server as http"


def _no_directory(model: str, directory: Path) -> Check:
    found = f"there is no checkpoint directory {directory.absolute()}"
    name = model if model.count("/") == 1 and not model.startswith((".", "/", "~")) else "ORGANISATION/MODEL"
    todo = f"nothing is fetched by itself: hf download {name} --local-dir DIR, then set propose.vlm.model to DIR"
    return Check("checkpoint", "missing", found, todo)


def _asked(
    settings: VlmSettings, engine_settings: TransformersSettings, directory: Path, say: Callable[[str], None]
) -> Iterator[Check]:
    from annotators.engines.transformers_engine import TransformersEngine

    weights = sum(file.stat().st_size for file in directory.glob("*.safetensors"))
    say(f"opening {directory} ({weights / 1e9:,.1f} GB of weights)")
    begun = time.monotonic()
    try:
        device = (*engine_settings.devices, None)[0]
        engine = TransformersEngine(directory, device=device, **engine_settings.model_dump(exclude={"devices"}))
    except UserError as error:
        yield refused("checkpoint", error, "name the directory of a whole checkpoint of a vision-language model")
        return
    except Exception as error:  # torch and safetensors raise what they like; of memory, damage, or a setting
        todo = "copy the checkpoint anew, or see whether it fits this device and what is set of it"
        yield Check("checkpoint", "missing", f"{directory} cannot be opened: {_named(error)}", todo)
        return
    yield _opened(engine, weights, time.monotonic() - begun)
    say(f"asking for one answer of at most {settings.max_tokens:,} tokens")
    try:
        result = next(iter(engine.generate([trial_request(settings, engine.shaped_by)])))
    except Exception as error:  # a kernel, a driver, or a family that behaves as no other
        yield Check("request", "missing", f"the model failed: {_named(error)}", "name another dtype or attention")
        return
    yield judged("request", settings, result, _peak(engine.device))


def _opened(engine: Any, weights: int, seconds: float) -> Check:
    told = engine.describe()
    found = (
        f"{told['directory']}: {told['family']}, revision {told['revision'][:12]}, {weights / 1e9:,.1f} GB, opened in "
        f"{seconds:.1f} s; {told['dtype']} on {told['device']}, attention {told['attention']}, context "
        f"{engine.checkpoint.context:,} tokens, up to {told['most_rows']} answers at once"
    )
    return Check("checkpoint", "ok", found)


def _peak(device: str) -> str:
    import torch

    if torch.device(device).type != "cuda":
        return ""
    return f"at most {torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB of its memory used"


def _named(error: Exception) -> str:
    said = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
