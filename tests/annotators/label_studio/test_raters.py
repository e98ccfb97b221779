from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import yaml

from annotators.label_studio.raters import SECRET_VARIABLE, annotation_secret, pseudonym, read_raters
from schemas.errors import ConfigError, UserError

SECRET = b"a secret of the tests"
ONE = {
    "email": "Ada@Example.org",
    "credential": "board_certified",
    "attested_on": "2026-01-02",
    "attested_by": "Clinic",
}


def written(folder: Path, *raters: dict[str, object]) -> Path:
    file = folder / "raters.yaml"
    file.write_text(yaml.safe_dump({"raters": list(raters)}))
    return file


def test_a_registry_is_read(tmp_path: Path) -> None:
    (rater,) = read_raters(written(tmp_path, ONE | {"sensitive": ["genital"]}))
    assert (rater.kind, rater.credential, rater.sensitive, rater.active) == (
        "human", "board_certified", ("genital",), True
    )  # fmt: skip


@pytest.mark.parametrize(
    ("raters", "said"),
    [
        ([ONE, ONE | {"email": "ada@example.org"}], "stands there twice"),
        ([{"email": "a@b", "credential": "resident"}], "needs attested_on and attested_by"),
        ([ONE | {"emial": "x"}], "raters.0.emial"),
        ([ONE | {"email": "nobody"}], "raters.0.email"),
        ([ONE | {"sensitive": ["surgery"]}], "raters.0.sensitive"),
        ([], "raters"),
    ],
)
def test_a_registry_with_a_mistake_is_one_sentence(tmp_path: Path, raters: list[dict[str, object]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_raters(written(tmp_path, *raters))


def test_no_registry_and_one_that_is_no_yaml_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        read_raters(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("raters: [")
    with pytest.raises(ConfigError, match="must be YAML"):
        read_raters(tmp_path / "bad.yaml")


def test_a_registry_inside_the_workspace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    file = written(tmp_path / "workspace", ONE)
    with pytest.raises(ConfigError, match="move it out"):
        read_raters(file, (str(tmp_path / "workspace"),))
    assert read_raters(file, (str(tmp_path / "releases"), "s3://bucket/workspace"))


def test_a_pseudonym_hangs_on_address_and_secret_alone() -> None:
    assert pseudonym("ada@example.org", SECRET) == pseudonym(" Ada@Example.ORG", SECRET)
    assert pseudonym("ada@example.org", SECRET) != pseudonym("bob@example.org", SECRET)
    assert pseudonym("ada@example.org", SECRET) != pseudonym("ada@example.org", SECRET + b"!")


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    first = annotation_secret()
    file = tmp_path / "dermcot" / "annotation_secret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert annotation_secret() == first
    assert len(first) == 64
    assert os.listdir(file.parent) == [file.name]
    file.chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        annotation_secret()


def test_the_environment_comes_first_and_must_be_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv(SECRET_VARIABLE, "sixteen letters!")
    assert annotation_secret(stored=lambda: "another of sixteen") == b"sixteen letters!"
    assert not os.listdir(tmp_path)
    monkeypatch.setenv(SECRET_VARIABLE, "short")
    with pytest.raises(UserError, match="shorter than 16"):
        annotation_secret()
    monkeypatch.delenv(SECRET_VARIABLE)
    assert annotation_secret(stored=lambda: " another of sixteen\n") == b"another of sixteen"
    with pytest.raises(UserError, match=r"annotate\.secret_block is shorter than 16"):
        annotation_secret(stored=lambda: "")
    assert not os.listdir(tmp_path)
