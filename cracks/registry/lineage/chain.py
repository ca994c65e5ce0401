"""Lineage: the patches that a run keeps a list of, and the chain from a prediction back to them.

    prediction ─► version ─► bundle ─► run ─► commit ─► dvc.lock ─► data ─► patch

Each link names the next one by a digest or an id; where the two ends disagree, the link is broken
and says between which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from cracks.dataset.labels import SPLITS
from cracks.inference.handover.prediction_id import BUNDLE_DIGITS, IMAGE_DIGITS, PredictionId
from cracks.monitoring.prediction_log.schema import RecordedPrediction
from cracks.registry.mlflow_store.records import ModelVersion
from cracks.registry.tags import (
    BUNDLE_TAG,
    CAUSE_TAG,
    COMMIT_TAG,
    DATA_TAG,
    DIRTY_TAG,
    LOCK_TAG,
    PATCHES_TAG,
    REASON_TAG,
    VERDICT_TAG,
)

SHARED_TAGS = (COMMIT_TAG, DIRTY_TAG, LOCK_TAG, DATA_TAG, BUNDLE_TAG)

#: Hexadecimal digits of a digest that a person reads.
SHOWN_DIGITS = 12

#: Columns of the list of patches, one row a file.
COLUMNS = ("id", "label", "split", "group", "source", "path")


@dataclass(frozen=True)
class Patch:
    """A patch of the data that a model was trained with."""

    id: str
    label: str
    split: str  # train, validation, test, or left out
    group: str
    files: tuple[str, ...]  # each as `path of source`; several, if the source holds copies


@dataclass(frozen=True)
class Link:
    """One link of the chain: what it is, what it says, and what contradicts it."""

    name: str
    value: str
    says: str = ""
    broken: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunFacts:
    """What a run says and keeps; what it does not have is None, or no tag."""

    run_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    refusal: str = ""  # why the run itself could not be had
    lock_digest: str | None = None  # SHA-256 of the dvc.lock that it keeps
    data_digest: str | None = None  # of the images, in that dvc.lock
    bundle_digest: str | None = None  # of the bundle that it keeps
    patches: pa.Table | None = None
    patches_digest: str | None = None  # SHA-256 of the file that `patches` came in


@dataclass(frozen=True)
class Chain:
    """The links of a prediction, version or run, and the patch that it ends at."""

    links: list[Link]
    patch: Patch | None = None
    recorded: RecordedPrediction | None = (
        None  # what was predicted, if the chain begins at a prediction
    )

    @property
    def broken(self) -> list[str]:
        """What is contradicted, each as `link: reason`."""
        return [f"{link.name}: {reason}" for link in self.links for reason in link.broken]


def patches_table(manifest: pa.Table, splits: pa.Table) -> pa.Table:
    """Return one row a file, sorted by id, source and path: what a run keeps of its data.

    Args:
        manifest: with id, label, source and path.
        splits: the split and group of each id.
    """
    assigned = splits.select(["id", "split", "group"])
    rows = manifest.select(["id", "label", "source", "path"]).join(assigned, "id")
    return rows.select(list(COLUMNS)).sort_by(
        [(column, "ascending") for column in ("id", "source", "path")]
    )


def find_patches(patches: pa.Table, prefix: str) -> list[Patch]:
    """Return the patches whose id begins with some hexadecimal digits."""
    rows = patches.filter(pc.starts_with(patches["id"], prefix)).to_pylist()
    found = {row["id"]: [one for one in rows if one["id"] == row["id"]] for row in rows}
    return [
        Patch(
            id_,
            files[0]["label"],
            files[0]["split"],
            files[0]["group"],
            tuple(f"{file['path']} of {file['source']}" for file in files),
        )
        for id_, files in found.items()
    ]


def follow(
    run: RunFacts,
    version: ModelVersion | None,
    prediction: PredictionId | None,
    *,
    commit_is_here: bool,
    recorded: RecordedPrediction | None = None,
) -> Chain:
    """Return the chain that leads through a run.

    Args:
        run: what it says and keeps.
        version: of the model, where the run became one.
        prediction: the id of the prediction that is traced, if any.
        commit_is_here: whether this repository has the commit of the code.
        recorded: that prediction as the service recorded it, if it did.
    """
    links = [
        *_of_prediction(prediction, recorded, run),
        *_of_version(version),
        _of_bundle(run, version, prediction),
        _of_run(run, version),
        *_of_cause(run, version),
        _of_commit(run, version, commit_is_here),
        _of_lock(run, version),
        _of_data(run, version),
        *_of_patches(run),
    ]
    if prediction is None or run.patches is None:
        return Chain(links, recorded=recorded)
    link, patch = _of_patch(run.patches, prediction.image)
    return Chain([*links, link], patch, recorded)


def _of_prediction(
    prediction: PredictionId | None, recorded: RecordedPrediction | None, run: RunFacts
) -> Iterator[Link]:
    if prediction:
        time = prediction.time.isoformat(sep=" ", timespec="milliseconds")
        says = f"made at {time} by version {prediction.version}; {predicted(recorded)}"
        broken = []
        if recorded and recorded.run_id != run.run_id:
            broken.append(f"the record names run {recorded.run_id}, the version {run.run_id}")
        yield Link("answer", str(prediction), says, tuple(broken))


def _of_version(version: ModelVersion | None) -> Iterator[Link]:
    if version:
        names = ", ".join(version.aliases)
        verdict = version.tags.get(VERDICT_TAG, "none")
        says = f"of {version.name}; verdict {verdict}" + (f"; now the {names}" if names else "")
        yield Link("version", version.version, says)


def _of_bundle(
    run: RunFacts, version: ModelVersion | None, prediction: PredictionId | None
) -> Link:
    tagged = _tag(BUNDLE_TAG, run, version)
    broken = []
    if not tagged:
        broken.append(f"there is no tag {BUNDLE_TAG}; it was not registered by `cracks`")
    if prediction and tagged and tagged[:BUNDLE_DIGITS] != prediction.bundle:
        broken.append(
            f"the prediction is of bundle {prediction.bundle}…, the registered one is "
            f"{short(tagged)}"
        )
    if tagged and not run.refusal:
        broken += _kept(run.bundle_digest, tagged, "bundle")
    return Link("bundle", tagged, "as the run keeps it", tuple(broken))


def _of_run(run: RunFacts, version: ModelVersion | None) -> Link:
    if run.refusal:
        return Link("run", run.run_id, broken=(run.refusal,))
    tags, names = run.tags, {} if version is None else version.tags
    broken = [
        f"its tag {tag} is {tags.get(tag, 'absent')}, that of the version {names[tag]}"
        for tag in SHARED_TAGS
        if tag in names and names[tag] != tags.get(tag)
    ]
    says = tags.get("mlflow.runName", "")
    if version is None:
        reason = tags.get(REASON_TAG, "")
        says += f"; no version: {tags.get(VERDICT_TAG, 'not judged')}"
        says += f" ({reason})" if reason else ""
    return Link("run", run.run_id, says, tuple(broken))


def _of_cause(run: RunFacts, version: ModelVersion | None) -> Iterator[Link]:
    """Yield why the run was started, if monitoring has started it."""
    if cause := _tag(CAUSE_TAG, run, version):
        yield Link("cause", cause, "why this model was trained")


def _of_commit(run: RunFacts, version: ModelVersion | None, commit_is_here: bool) -> Link:
    commit = _tag(COMMIT_TAG, run, version)
    if not commit:
        return Link("commit", "", broken=(f"there is no tag {COMMIT_TAG}",))
    says = "in this repository"
    if _tag(DIRTY_TAG, run, version) == "true":
        says += "; the workspace had been changed: the run keeps its params.yaml and dvc.yaml"
    broken = () if commit_is_here else ("this repository does not have it. `git fetch --all`",)
    return Link("commit", commit, says, broken)


def _of_lock(run: RunFacts, version: ModelVersion | None) -> Link:
    tagged = _tag(LOCK_TAG, run, version)
    if not tagged:
        return Link("dvc.lock", "", broken=(f"there is no tag {LOCK_TAG}",))
    broken = [] if run.refusal else _kept(run.lock_digest, tagged, "dvc.lock")
    return Link("dvc.lock", tagged, "as the run keeps it", tuple(broken))


def _of_data(run: RunFacts, version: ModelVersion | None) -> Link:
    tagged, broken = _tag(DATA_TAG, run, version), []
    if not tagged:
        broken.append(f"there is no tag {DATA_TAG}")
    elif run.lock_digest and run.data_digest != tagged:
        broken.append(f"dvc.lock says {run.data_digest or 'nothing'} of data/images")
    return Link("data", tagged, "data/images in dvc.lock", tuple(broken))


def _of_patches(run: RunFacts) -> Iterator[Link]:
    """Yield what the run's list of patches says; a run that was deleted says nothing."""
    tagged = run.tags.get(PATCHES_TAG)
    if run.patches is not None and run.patches_digest:
        broken = _kept(run.patches_digest, tagged, "list of patches") if tagged else []
        yield Link("patches", run.patches_digest, counted(run.patches), tuple(broken))
    elif tagged:
        yield Link("patches", tagged, broken=tuple(_kept(None, tagged, "list of patches")))
    elif not run.refusal:
        yield Link("patches", "", "this run is older than the lists of patches")


def _of_patch(patches: pa.Table, image: str) -> tuple[Link, Patch | None]:
    found = find_patches(patches, image)
    if not found:
        says = "not in this data: the model was neither trained, validated nor tested on it"
        return Link("image", f"{image}…", says), None
    if len(found) > 1:
        reason = f"{len(found)} patches have the same {IMAGE_DIGITS} digits"
        return Link("image", f"{image}…", broken=(reason,)), None
    return Link("image", found[0].id, described(found[0])), found[0]


def _tag(tag: str, run: RunFacts, version: ModelVersion | None) -> str:
    """Return what the version says, which was judged; else what the run says."""
    return (version.tags.get(tag) if version else None) or run.tags.get(tag, "")


def _kept(found: str | None, tagged: str, what: str) -> list[str]:
    if found is None:
        return [f"the run keeps no {what}"]
    return [] if found == tagged else [f"the {what} that the run keeps has {short(found)}"]


def counted(patches: pa.Table) -> str:
    """Return in words how many files there are, and how many distinct patches of each split."""
    distinct = dict(zip(patches["id"].to_pylist(), patches["split"].to_pylist(), strict=True))
    of_split = Counter(distinct.values())
    order = [*SPLITS, *sorted(of_split.keys() - set(SPLITS))]
    numbers = ", ".join(f"{of_split[split]:,} {split}" for split in order if of_split[split])
    return f"{len(patches):,} files, {len(distinct):,} distinct: {numbers}"


def described(patch: Patch) -> str:
    """Return in words what is known of a patch."""
    return f"{patch.split}, {patch.label}, group {short(patch.group)}: {'; '.join(patch.files)}"


def predicted(recorded: RecordedPrediction | None) -> str:
    """Return in words what was predicted."""
    if recorded is None:
        return "not in the record"
    says = f"{recorded.label} ({recorded.kind}), score {recorded.score:.4f}"
    says += f" with a threshold of {recorded.threshold:.4f}"
    if recorded.novelty is not None:
        says += f", novelty {recorded.novelty:.2f}" + (", novel" if recorded.novel else "")
    return says


def short(digest: str) -> str:
    """Return a digest as a person reads it."""
    return f"{digest[:SHOWN_DIGITS]}…" if len(digest) > SHOWN_DIGITS else digest
