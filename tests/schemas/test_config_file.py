from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from schemas.config import Config, SourceSettings
from schemas.config_file import load_config
from schemas.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT = REPOSITORY / "dermcot.yaml"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def fields(model: BaseModel, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            found |= fields(value, f"{prefix}{name}.")
        elif name != "sources":
            found[f"{prefix}{name}"] = value
    return found


@pytest.mark.parametrize(
    ("drawn", "said", "allowed"),
    [((True, True), None, True), ((True, False), None, False), ((False,), None, False), ((False,), True, True),
     ((True,), False, False)],
)  # fmt: skip
def test_texts_that_saw_no_image_train_only_where_images_are_drawn_or_it_is_said(
    drawn: tuple[bool, ...], said: bool | None, allowed: bool
) -> None:
    sources = [{"name": f"s{n}", "adapter": "ham10000", "path": "x", "synthetic": d} for n, d in enumerate(drawn)]
    config = Config.model_validate({"sources": sources, "release": {"allow_text_only": said}})
    assert config.allows_text_only() is allowed


def test_the_default_file_states_every_field_with_its_default() -> None:
    document = yaml.safe_load(DEFAULT.read_text())
    sources = document["sources"]
    model = Config(sources=tuple(SourceSettings.model_validate(source) for source in sources))
    stated: dict[str, Any] = {}

    def walk(value: Any, prefix: str) -> None:
        for key, inner in value.items():
            if isinstance(inner, dict):
                walk(inner, f"{prefix}{key}.")
            elif key != "sources":
                stated[f"{prefix}{key}"] = tuple(inner) if isinstance(inner, list) else inner

    walk(document, "")
    defaults = fields(model)
    assert set(stated) == set(defaults)
    del stated["decontaminate.manifests"], defaults["decontaminate.manifests"]  # the sample brings its own
    assert stated == defaults
    comments = {line.split(":")[0].strip() for line in DEFAULT.read_text().splitlines() if "#" in line}
    assert {name.rsplit(".", 1)[-1] for name in defaults} - {"accuracy", "safety", "medical_groundedness",
            "clinical_coverage", "reasoning_coherence", "description_precision", "aggregate", "per_diagnosis",
            "per_source"} <= comments  # fmt: skip
    text = DEFAULT.read_text()
    assert all(name in text for name in SourceSettings.model_fields)


def test_paths_are_relative_to_the_file_and_options_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = write(tmp_path, "sources: [{name: a, adapter: ham10000, path: data}]")
    config = load_config(path, workspace="w", releases="s3://bucket/releases")
    assert config.sources[0].path == str(tmp_path / "data")
    assert config.workspace == str(tmp_path / "here" / "w")
    assert config.releases == "s3://bucket/releases"
    assert load_config(path).releases == str(tmp_path / "releases")


def test_overrides_reach_any_field() -> None:
    config = load_config(
        DEFAULT, ["select.thresholds.accuracy=3.25", "sources.1.name=other", "deduplicate.source_priority=[ham10000]"]
    )
    assert config.select.thresholds.accuracy == 3.25
    assert config.sources[1].name == "other"
    assert config.deduplicate.source_priority == ("ham10000",)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("selct.aggregate=mean", "unknown field 'selct'; did you mean 'select'"),
        ("select.thresholds.acuracy=1", "unknown field 'select.thresholds.acuracy'; did you mean 'accuracy'"),
        ("sources.0.adapter=ham1000", "did you mean 'ham10000'"),
        (
            "propose.trajectories=[kept, revisd]",
            "propose.trajectories.1: Input should be 'direct', 'kept' or 'revised'; did you mean 'revised'?",
        ),
        ("propose.trajectories=[]", "propose.trajectories: Tuple should have at least 1 item"),
        ("sources.0.licence=CC-BY-5.0", "licence 'CC-BY-5.0' is not known"),
        ("sources.0.columns={image: a}", "columns belongs to the folder adapter"),
        ("sources.0.pth=x", "unknown field 'sources.0.pth'; did you mean 'path'"),
        ("sources.7.path=x", "sources.7 does not exist; the list has 3 entries"),
        ("sources=[]", "sources is empty"),
        ("sources.0.name=pad", "two sources are called pad"),
        ("sources.0.name=../x", "sources.0.name"),
        ("split.certify_queue=0.99", "nothing is left to train on"),
        ("select.thresholds.accuracy=6", "less than or equal to 5"),
        ("deduplicate.source_priority=[nobody]", "unknown sources: nobody"),
        ("limit=0", "greater than or equal to 1"),
        ("workspace.x=1", "workspace is a single value"),
        ("nonsense", "not key=value"),
        ("limit=[", "not YAML"),
    ],
)
def test_a_mistake_is_one_sentence(override: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(DEFAULT, [override])
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "not YAML"),
        ("- a", "must hold a mapping"),
        ("", "must hold a mapping"),
        ("limit: 3", "'sources' is missing"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_config(write(tmp_path, text))
    with pytest.raises(ConfigError, match="-c FILE"):
        load_config(tmp_path / "none.yaml")


def test_what_a_release_records_names_no_path() -> None:
    assert str(REPOSITORY) not in str(load_config(DEFAULT).published())


def test_what_a_release_records_of_a_teacher_names_no_folder_no_device_and_no_server(tmp_path: Path) -> None:
    def published(**engine: Any) -> Any:
        vlm = {"model": "models/qwen", "terms": "CC0-1.0", **engine}
        document = yaml.safe_load(DEFAULT.read_text()) | {"propose": {"teacher": "vlm", "vlm": vlm}}
        return load_config(write(tmp_path, yaml.safe_dump(document))).published()["propose"]["vlm"]

    def served(port: int) -> Any:
        return published(http={"endpoints": [{"url": f"http://10.0.0.7:{port}/v1", "api_key_env": "LAB_KEY"}]})

    inside = published(transformers={"devices": ["cuda:3"], "dtype": "float16"})
    assert (inside["model"], inside["transformers"]) == ("qwen", {"dtype": "float16", "most_pixels": None})
    assert not any(word in str(inside) for word in (str(tmp_path), "cuda"))
    assert served(1) == served(2)
    assert not any(word in str(served(1)) for word in ("10.0.0.7", "LAB_KEY"))
