"""The configuration: one frozen model per stage, checked when it is made.

A misspelt key must never be ignored, so unknown fields are errors that name the nearest known one. Every field is
documented, with its unit and default, in ``dermcot.yaml``; a test holds the two together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from schemas.licences import LICENCE_CLASS
from schemas.settings import Fraction, Settings
from schemas.tables import CREDENTIALS, DIMENSIONS, TRAJECTORIES
from schemas.teacher_config import VlmSettings

Adapter = Literal["ham10000", "pad_ufes_20", "fitzpatrick17k", "isic_archive", "folder"]
Score = Annotated[float, Field(ge=0, le=5)]
Trajectory = Literal["direct", "kept", "revised"]
Credential = Literal["board_certified", "resident", "other"]
HashBits = Annotated[int, Field(ge=0, le=64)]


class ColumnMapping(Settings):
    """For the ``folder`` adapter: which CSV column holds what. ``image`` is a file path relative to the folder."""

    image: str = "image"
    label: str = "label"
    case: str | None = None
    lesion: str | None = None
    patient: str | None = None
    age: str | None = None
    sex: str | None = None
    site: str | None = None
    fitzpatrick: str | None = None
    modality: str | None = None
    label_certainty: str | None = None
    licence: str | None = None
    attribution: str | None = None
    caption: str | None = None
    facts: tuple[str, ...] = ()


class SourceSettings(Settings):
    """One dataset on disk. ``name`` namespaces its identifiers; ``path`` is relative to the configuration file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    adapter: Adapter
    path: str
    metadata: str | None = None
    licence: str | None = None
    attribution: str | None = None
    external_processing: bool | None = None
    synthetic: bool = False
    columns: ColumnMapping | None = None

    @model_validator(mode="after")
    def _consistent(self) -> SourceSettings:
        if self.licence is not None and self.licence not in LICENCE_CLASS:
            raise ValueError(f"licence {self.licence!r} is not known; known are {', '.join(LICENCE_CLASS)}")
        if (self.adapter == "folder") != (self.columns is not None):
            raise ValueError("columns belongs to the folder adapter, which needs it, and to no other")
        return self


class InspectSettings(Settings):
    """Limits of what is decoded. ``max_megapixels`` in 10^6 pixels, ``max_megabytes`` in 10^6 bytes of file."""

    max_megapixels: Annotated[float, Field(gt=0)] = 50.0
    max_megabytes: Annotated[float, Field(gt=0)] = 100.0
    min_side_pixels: Annotated[int, Field(ge=1)] = 64
    low_variance_below: Annotated[float, Field(ge=0)] = 8.0


class DeduplicateSettings(Settings):
    """``max_distance`` and ``max_diameter`` in differing bits of 256."""

    max_distance: HashBits = 24
    max_diameter: Annotated[int, Field(ge=0, le=128)] = 48
    on_label_conflict: Literal["reject", "keep_survivor"] = "reject"
    source_priority: tuple[str, ...] = ()


class DecontaminateSettings(Settings):
    """``manifests``: files naming evaluation images, relative to the configuration file."""

    manifests: tuple[str, ...] = ()
    max_distance: HashBits = 24
    reject_group: bool = True


class SplitSettings(Settings):
    """Shares of new leakage groups that are held out; the rest trains."""

    salt: str = "dermcot"
    calibration: Fraction = 0.03
    certify_queue: Fraction = 0.2

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> SplitSettings:
        if self.calibration + self.certify_queue >= 1:
            raise ValueError("calibration + certify_queue must be below 1, or nothing is left to train on")
        return self


class ImportedSettings(Settings):
    """A set of narratives that somebody else wrote: further candidates of the cases they are about.

    ``name`` becomes their author; ``path`` is relative to the configuration file; the columns are guessed from usual
    names where they are not given. ``label_seen``: their author knew the diagnosis; ``image_grounded``: their author
    looked at the image; ``terms``: the licence or terms of the texts.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    path: str
    terms: Annotated[str, Field(min_length=1)]
    label_seen: bool = True
    image_grounded: bool = False
    text_column: str | None = None
    id_column: str | None = None
    image_column: str | None = None


class ProposeSettings(Settings):
    """``candidates``: narratives written per case; they take the kinds of ``trajectories`` in turn.

    A kind named twice is written twice as often. Where in the list a case begins is drawn from its content;
    a revised one without a plausible first impression becomes a kept one.
    ``vlm``: of the teacher of that name; ``imported``: sets of narratives from elsewhere, as further candidates.
    """

    teacher: Literal["textbook", "vlm"] = "textbook"
    vlm: VlmSettings | None = None
    candidates: Annotated[int, Field(ge=1, le=16)] = 3
    trajectories: Annotated[tuple[Trajectory, ...], Field(min_length=1, max_length=16)] = ("direct", "kept", "revised")
    imported: tuple[ImportedSettings, ...] = ()

    @model_validator(mode="after")
    def _teacher_is_told(self) -> ProposeSettings:
        if self.teacher == "vlm" and self.vlm is None:
            raise ValueError("the teacher vlm needs the fields below vlm: model, terms, and http or transformers")
        return self

    def writes_blind(self) -> bool:
        """Whether any candidate is by an author who was not told the diagnosis."""
        by_teacher = self.teacher == "vlm" and self.vlm is not None and self.vlm.blind_share > 0
        return by_teacher or not all(told.label_seen for told in self.imported)

    @model_validator(mode="after")
    def _sets_are_distinct(self) -> ProposeSettings:
        names = [told.name for told in self.imported]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two imported sets are called {', '.join(twice)}; give one of them another name")
        return self


class EvaluateSettings(Settings):
    """Which evaluator scores the candidates."""

    evaluator: Literal["rubric"] = "rubric"


class Thresholds(Settings):
    """Least score (0-5) per dimension, and of the aggregate, that a training narrative needs."""

    accuracy: Score = 4.0
    safety: Score = 4.0
    medical_groundedness: Score = 3.8
    clinical_coverage: Score = 2.3
    reasoning_coherence: Score = 3.8
    description_precision: Score = 2.3
    aggregate: Score = 3.5


class Quotas(Settings):
    """Most training cases per diagnosis, source and skin-tone row; null for no limit."""

    per_diagnosis: Annotated[int, Field(ge=1)] | None = None
    per_source: Annotated[int, Field(ge=1)] | None = None
    per_tone: Annotated[int, Field(ge=1)] | None = None


class SelectSettings(Settings):
    """How the best candidate is chosen and what it must reach."""

    aggregate: Literal["mean", "min"] = "mean"
    thresholds: Thresholds = Thresholds()
    quotas: Quotas = Quotas()


class CertificationThresholds(Settings):
    """Least mean over raters (0-5), per dimension, of a narrative that is certified."""

    accuracy: Score = 4.0
    safety: Score = 4.0
    medical_groundedness: Score = 3.5
    clinical_coverage: Score = 3.0
    reasoning_coherence: Score = 3.5
    description_precision: Score = 3.0


class CertificationSettings(Settings):
    """Which narratives dermatologists are asked to score, and what of their answers certifies one.

    ``size``: narratives in the queue, about; null for one of every held-out case and the random part.
    ``random_share``: of the queue, drawn from every standardised candidate of held-out cases with a known chance.
    ``annotations``: the snapshot of answers (Parquet, :data:`schemas.tables.ANNOTATIONS`) that counts; null for none.
    ``raters``: distinct raters that a narrative needs, whose credential is one of ``credentials``; ``decisions``: how
    many of them must certify it; one who rejects it blocks it. The author of a correction stands for one of each.
    ``max_spread``: largest difference between raters on one dimension; beyond it, and where they decide differently,
    ``adjudicators`` others are asked. ``allow_simulated``: whether simulated raters count for photographs too.
    """

    size: Annotated[int, Field(ge=1)] | None = None
    random_share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    annotations: str | None = None
    raters: Annotated[int, Field(ge=1)] = 2
    credentials: Annotated[tuple[Credential, ...], Field(min_length=1)] = ("board_certified",)
    thresholds: CertificationThresholds = CertificationThresholds()
    decisions: Annotated[int, Field(ge=1)] = 2
    max_spread: Score = 2.0
    adjudicators: Annotated[int, Field(ge=1)] = 1
    allow_simulated: bool = False

    @model_validator(mode="after")
    def _can_be_met(self) -> CertificationSettings:
        if self.decisions > self.raters:
            raise ValueError(f"decisions is {self.decisions}, more than the {self.raters} raters asked for")
        return self


class GateSettings(Settings):
    """What a release must at least hold. ``max_rejected_share``: of the source images, at ingest;
    ``min_blind_share``: of the train rows, those whose author was not told the diagnosis."""

    min_train_rows: Annotated[int, Field(ge=0)] = 1
    max_rejected_share: Fraction = 0.5
    min_blind_share: Fraction = 0.0
    warn_only: tuple[str, ...] = ()


class ReleaseSettings(Settings):
    """``rows_per_file`` bounds the size of one Parquet file, and so the memory of writing it.

    ``allow_text_only``: whether training rows may carry narratives whose author did not look at the image; null says
    yes for drawn images and no for real ones.
    """

    allow_text_only: bool | None = None
    rows_per_file: Annotated[int, Field(ge=1)] = 1000


class ExecutionSettings(Settings):
    """How the work is run; nothing here changes a result. ``workers`` 0 means one per core."""

    runner: Literal["threads", "ray"] = "threads"
    workers: Annotated[int, Field(ge=0)] = 0
    rows_per_shard: Annotated[int, Field(ge=1)] = 256


class AnnotateSettings(Settings):
    """Scores by dermatologists through Label Studio; nothing here changes a release.

    ``url``: its address; ``server``: a name that stays when the address changes (the address by default);
    ``token_file`` and ``raters``: files that lie outside the workspace; ``token_block``, ``secret_block`` and
    ``s3_block``: names of Prefect Secret blocks; ``document_root``: the folder whose images the server shows, as seen
    from here, and ``document_root_there`` as the server sees it, or ``s3://BUCKET/PREFIX``, with ``s3_endpoint`` and
    ``s3_region`` as the server sees them. Shares are of a rater's own cases. ``gold``: a table with the column
    ``narrative_id`` of narratives whose scores are known, and these scores.
    """

    url: str = "http://127.0.0.1:8080"
    server: str | None = None
    token_file: str | None = None
    token_block: str | None = None
    secret_block: str | None = None
    raters: str = "raters.yaml"
    document_root: str = "label_studio/files"
    document_root_there: str | None = None
    s3_endpoint: str | None = None
    s3_region: str | None = None
    s3_block: str | None = None
    title: Annotated[str, Field(min_length=1, max_length=20)] = "DermCoT"
    raters_per_case: Annotated[int, Field(ge=1, le=20)] = 3
    order: Literal["stratified", "uncertain", "disagreeing"] = "stratified"
    uncertain_at: Score = 3.5
    practice: Annotated[int, Field(ge=0, le=50)] = 5
    gold: str | None = None
    gold_share: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    planted_share: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    repeat_share: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    show_label: bool = False
    daily_cap: Annotated[int, Field(ge=1)] | None = 60
    shared_project: bool = False
    salt: str = "dermcot"

    @model_validator(mode="after")
    def _images_lie_in_one_kind_of_place(self) -> AnnotateSettings:
        scheme, separator, place = self.document_root.partition("://")
        if separator and (scheme != "s3" or not place.strip("/")):
            raise ValueError(f"document_root {self.document_root} is neither a folder nor s3://BUCKET/PREFIX")
        if separator and self.document_root_there is not None:
            raise ValueError("document_root_there is for a folder: leave it out where document_root is a bucket")
        return self


class Config(Settings):
    """A whole build. Paths are relative to the configuration file until
    :func:`schemas.config_file.load_config` makes them absolute."""

    workspace: str = "workspace"
    releases: str = "releases"
    limit: Annotated[int, Field(ge=1)] | None = None
    sources: tuple[SourceSettings, ...]
    inspect: InspectSettings = InspectSettings()
    deduplicate: DeduplicateSettings = DeduplicateSettings()
    decontaminate: DecontaminateSettings = DecontaminateSettings()
    split: SplitSettings = SplitSettings()
    propose: ProposeSettings = ProposeSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    select: SelectSettings = SelectSettings()
    certification: CertificationSettings = CertificationSettings()
    gate: GateSettings = GateSettings()
    release: ReleaseSettings = ReleaseSettings()
    annotate: AnnotateSettings = AnnotateSettings()
    execution: ExecutionSettings = ExecutionSettings()

    @model_validator(mode="after")
    def _sources_are_distinct(self) -> Config:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not names:
            raise ValueError("sources is empty: name at least one dataset")
        if twice:
            raise ValueError(f"two sources are called {', '.join(twice)}; identifiers need distinct names")
        unknown = sorted(set(self.deduplicate.source_priority) - set(names))
        if unknown:
            raise ValueError(f"deduplicate.source_priority names unknown sources: {', '.join(unknown)}")
        return self

    @model_validator(mode="after")
    def _engine_fits_runner(self) -> Config:
        teacher = self.propose.vlm if self.propose.teacher == "vlm" else None
        if self.execution.runner == "ray" and teacher is not None and teacher.transformers is not None:
            raise ValueError(
                "propose.vlm.transformers runs under execution.runner: threads, which uses every GPU of the machine; "
                "for several machines, serve the model and name the servers under propose.vlm.http"
            )
        return self

    @model_validator(mode="after")
    def _blind_rows_can_come(self) -> Config:
        if self.gate.min_blind_share > 0 and not self.propose.writes_blind():
            raise ValueError(
                f"gate.min_blind_share is {self.gate.min_blind_share:g} and nobody writes blind, since every author is "
                "told the diagnosis: set propose.teacher to vlm with propose.vlm.blind_share above 0, import a set "
                "with label_seen: false, or set gate.min_blind_share to 0"
            )
        return self

    def allows_text_only(self) -> bool:
        """Whether training rows may carry narratives whose author did not look at the image."""
        said = self.release.allow_text_only
        return self.drawn() if said is None else said

    def drawn(self) -> bool:
        """Whether every image was drawn by a program."""
        return all(source.synthetic for source in self.sources)

    def allows_simulated_raters(self) -> bool:
        """Whether answers of simulated raters may certify; a release in which they did is marked so."""
        return self.certification.allow_simulated or self.drawn()

    def published(self) -> dict[str, Any]:
        """The configuration as a release records it: everything that shapes the result, no path of this machine."""
        record = self.model_dump(mode="json", exclude={"workspace", "releases", "annotate", "execution"})
        for source in record["sources"]:
            del source["path"]
        for told in record["propose"]["imported"]:
            del told["path"]
        if self.propose.vlm is not None:
            record["propose"]["vlm"] = self.propose.vlm.published()
        del record["certification"]["annotations"]  # its content is named by digest
        record["decontaminate"]["manifests"] = [Path(name).name for name in self.decontaminate.manifests]
        return record


assert set(Thresholds.model_fields) == {*DIMENSIONS, "aggregate"}
assert tuple(CertificationThresholds.model_fields) == DIMENSIONS
assert get_args(Trajectory) == TRAJECTORIES
assert get_args(Credential) == CREDENTIALS
