"""Back-up and restore of everything: elsewhere the same champion answers, and nothing is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from damaged import flip
from processes import CHECKOUT, RunningProcess, StartProcess
from s3 import S3Server, use_s3
from servers import PostgresqlServer, tracking_address
from typer.testing import CliRunner

from cracks.inference.bundle.classifier import Classifier
from cracks.inference.handover.champion import open_champion
from cracks.registry.mlflow_store.registered_bundle import fetch_bundle
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.promotion.transaction import PromotionRequest, promote
from cracks.workspace.params_file import set_params
from cracks.workspace.paths import Paths
from infra.backup.archive import Archive
from infra.backup.databases import Sqlite
from infra.backup.manifest import BackupRefused, Manifest
from infra.backup.restoring import MARK, Restoring
from infra.backup.saving import Saving
from infra.backup.state import State, place_at, state_of, variables_of_stack
from infra.stack.settings import FOLDER_VARIABLE, Stack, keep_secrets
from tests.integration.bundles import grey_image, make_bundle
from tests.integration.registered import register_version
from tests.unit.builders import params_with, tree, write_files

MODEL = "brightness"
IMAGE, LIMITS = grey_image(190), params_with().promote
MLFLOW_DATABASE = "CRACKS_BACKUP_DATABASE_MLFLOW"
PASSWORD = "never-in-a-manifest"

#: What the remote of DVC and the service keep beside the champion.
DATA = {"files/md5/ab/cdef": b"a shard", "files/md5/00/1122.dir": b"[]"}
ANSWERS = {"answers/2026-11-21/one.parquet": b"PAR1", "keys.json": b"{}", "history.json": b"[]"}
OF_PROCESSES = {"processes/web7-4711.json": b"{}", ".champion.json.partial": b"{"}


@dataclass(frozen=True)
class Site:
    """A workspace, and where its MLflow keeps everything."""

    paths: Paths
    variables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def made(cls, root: Path, variables: Mapping[str, str] | None = None) -> Site:
        """Return a new workspace with the settings of this checkout."""
        for name in ("params.yaml", "dvc.yaml", ".dvc/config"):
            write_files(root, {name: (CHECKOUT / name).read_bytes()})
        set_params(root / "params.yaml", [f"register.model_name={MODEL}"])
        return cls(Paths(root.resolve()), variables or {})

    @property
    def tracking(self) -> Tracking:
        return Tracking(self.paths, MODEL)

    @property
    def state(self) -> State:
        return state_of(self.paths, self.variables)

    def data(self, s3: S3Server) -> Path:
        """Return the folder of the bucket in which DVC keeps data."""
        return s3.place / self.variables["CRACKS_BACKUP_DVC"].removeprefix("s3://")

    def do(self, kind: str, version: str) -> None:
        order = PromotionRequest(kind, version, "a test", "somebody")  # type: ignore[arg-type]
        promote(order, self.tracking, self.paths.service, LIMITS)

    def fill(self) -> None:
        """Register two versions, make one champion after the other, and answer for a while."""
        if MLFLOW_DATABASE in self.variables:
            self._name_artifacts()
        for factor in (1.0, 0.9):
            bundle = make_bundle(self.paths.root / "made" / str(factor), factor)
            register_version(self.tracking, bundle)
        self.do("promote", "1")
        self.do("promote", "2")
        write_files(self.paths.service, ANSWERS | OF_PROCESSES)
        (self.paths.service / "keys.json").chmod(0o600)

    def _name_artifacts(self) -> None:
        """Make the experiments as a server does that was told a place for artifacts."""
        from mlflow import MlflowClient

        place = Path(self.variables["CRACKS_BACKUP_ARTIFACTS"]).as_uri()
        for name in ("concrete-crack-training", f"{MODEL}-ledger"):
            MlflowClient().create_experiment(name, f"{place}/{name}")

    def answer(self) -> tuple[str, float]:
        """Return the version that answers, and its score of an image."""
        champion, bundle = open_champion(self.paths.service)
        (answer,) = Classifier(bundle).predict([IMAGE], ["a.png"])
        return champion.version, answer.score

    def verified(self) -> str:
        """Return what `cracks models --verify` says."""
        from cli.app import app

        done = CliRunner().invoke(app, ["-C", str(self.paths.root), "models", "--verify"])
        assert done.exit_code == 0, done.output
        return done.stdout

    def save(self, archive: str) -> Manifest:
        return Saving(self.state, Archive(place_at(archive))).save()

    def restore(self, archive: str, name: str | None = None) -> None:
        kept = Archive(place_at(archive))
        Restoring(kept.read(name), kept, self.state).restore()

    def run(self, start: StartProcess, what: str, archive: str) -> RunningProcess:
        """Do it in a process of its own, as `make` does."""
        command = [sys.executable, "-m", "infra.backup", what, archive]
        options = ["--workspace", str(self.paths.root)]
        return start([*command, *options], variables=self.variables, cwd=CHECKOUT, name=what)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A workspace with a local store, a champion and one before it; not to be changed."""
    with tracking_address(None):
        site = Site.made(tmp_path_factory.mktemp("here"))
        site.fill()
    write_files(site.paths.root / ".dvc/storage", DATA)
    return site


@pytest.fixture
def local(filled: Site) -> Iterator[Site]:
    with tracking_address(None):
        yield filled


@pytest.fixture
def elsewhere(tmp_path: Path) -> Site:
    return Site.made(tmp_path / "elsewhere")


@pytest.fixture
def archive(tmp_path: Path) -> str:
    return str(tmp_path / "archive")


# --- everything -----------------------------------------------------------------------------------


def test_a_local_store_that_is_restored_elsewhere_answers_as_before(
    start: StartProcess, local: Site, elsewhere: Site, archive: str
) -> None:
    answered, verified = local.answer(), local.verified()
    saving = local.run(start, "save", archive)
    assert saving.wait(60) == 0, saving.log
    assert "Back-up 20" in saving.stdout
    with lost(local.paths.root):
        restoring = elsewhere.run(start, "restore", archive)
        assert restoring.wait(60) == 0, restoring.log
        require_alive(elsewhere, answered, verified)
    assert files(elsewhere.paths.root / ".dvc/storage") == DATA


@contextmanager
def lost(root: Path) -> Iterator[None]:
    """Let a folder be gone for a while."""
    aside = root.rename(root.with_name(f"{root.name}-lost"))
    try:
        yield
    finally:
        shutil.rmtree(root, ignore_errors=True)
        aside.rename(root)


def require_alive(site: Site, answered: tuple[str, float], verified: str) -> None:
    """Fail unless a restored place answers, verifies, and can go on."""
    assert site.answer() == answered
    assert site.verified() == verified
    kept = files(site.paths.service)
    assert kept.items() >= ANSWERS.items()
    assert not kept.keys() & {*OF_PROCESSES, MARK}
    assert (site.paths.service / "keys.json").stat().st_mode & 0o777 == 0o600
    for version in site.tracking.registry.versions():
        fetch_bundle(version, site.tracking, site.paths.root / f"fetched-{version.version}")
    site.do("rollback", "1")
    assert site.answer()[0] == "1"
    assert "unaltered; champion is version 1" in site.verified()


def files(folder: Path) -> dict[str, bytes]:
    return {path: content for path, content in tree(folder).items() if content is not None}


@pytest.mark.slow
def test_a_store_on_postgresql_that_is_restored_elsewhere_answers_as_before(
    postgresql_server: PostgresqlServer,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    use_s3(s3_server.variables, monkeypatch)
    archive = f"s3://{s3_server.new_bucket().name}/nightly"
    here, there = (
        site_on(postgresql_server, s3_server, tmp_path / name) for name in ("here", "there")
    )
    write_files(here.data(s3_server), DATA)
    with tracking_address(here.variables[MLFLOW_DATABASE]):
        here.fill()
        answered, verified = here.answer(), here.verified()
    manifest = here.save(archive)
    shutil.rmtree(here.paths.root)
    shutil.rmtree(here.data(s3_server))
    postgresql_server.execute('DROP DATABASE "here" WITH (FORCE)')
    there.restore(archive)
    assert files(there.data(s3_server)) == DATA
    with tracking_address(there.variables[MLFLOW_DATABASE]):
        require_alive(there, answered, verified)
    with pytest.raises(BackupRefused, match=r"Not empty: mlflow \(postgresql://postgres:"):
        there.restore(archive)
    assert PASSWORD not in manifest.text


def site_on(server: PostgresqlServer, s3: S3Server, root: Path) -> Site:
    """Return a workspace with a database, a folder and a bucket of its own for what MLflow keeps.

    The addresses of artifacts are whole ones: a restore elsewhere must let MLflow find them.
    """
    database = server.new_database(root.name)
    variables = {
        MLFLOW_DATABASE: database.replace("postgres@", f"postgres:{PASSWORD}@"),
        "CRACKS_BACKUP_ARTIFACTS": str(root / "artifacts"),
        "CRACKS_BACKUP_DVC": f"s3://{s3.new_bucket().name}",
    }
    return Site.made(root, variables)


# --- what a back-up is ----------------------------------------------------------------------------


def test_a_second_backup_copies_only_what_is_new(local: Site, archive: str) -> None:
    first = local.save(archive)
    objects = files(Path(archive) / "objects")
    assert {Path(path).name for path in objects} == {
        file.sha256 for part in first.parts for file in part.files
    }
    extra = local.paths.root / ".dvc/storage/files/md5/ff/new"
    write_files(extra.parent, {"new": b"a new shard"})
    kept = Archive(place_at(archive))
    wait_for_the_next_second(first.name)
    try:
        second = Saving(local.state, kept).save()
    finally:
        extra.unlink()
    assert kept.new == len(b"a new shard")
    assert len(files(Path(archive) / "objects")) == len(objects) + 1
    assert Archive(place_at(archive)).names == [first.name, second.name]


def wait_for_the_next_second(name: str) -> None:
    while time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime()) <= name:
        time.sleep(0.05)


def test_a_content_that_was_damaged_is_written_again_by_the_next_backup(
    local: Site, archive: str, elsewhere: Site
) -> None:
    first = local.save(archive)
    (file,) = (one for part in first.parts for one in part.files if one.path.endswith("cdef"))
    flip(stored(archive, file.sha256))
    wait_for_the_next_second(first.name)
    local.save(archive)
    elsewhere.restore(archive)
    assert elsewhere.answer() == local.answer()


def stored(archive: str, digest: str) -> Path:
    return Path(archive) / "objects" / digest[:2] / digest


def test_champion_and_ledger_are_of_the_same_moment(
    local: Site, archive: str, elsewhere: Site, tmp_path: Path
) -> None:
    local.save(archive)
    own = Site.made(tmp_path / "own")  # others must not see its promotions
    own.restore(archive)
    archive = str(tmp_path / "another archive")

    class Promoted(Sqlite):
        """A database during whose dump somebody promotes, the first time."""

        dumps = 0

        def dump(self, target: Path) -> None:
            super().dump(target)
            Promoted.dumps += 1
            if Promoted.dumps == 1:
                own.do("rollback", "1")

    state = own.state
    busy = replace(state, databases={"mlflow": Promoted(state.databases["mlflow"]._url)})
    Saving(busy, Archive(place_at(archive))).save()
    own.do("promote", "2")
    elsewhere.restore(archive)
    assert Promoted.dumps == 2
    assert elsewhere.answer()[0] == "1"
    assert "champion is version 1" in elsewhere.verified()


def test_where_there_is_a_stack_its_state_is_found(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "stack")
    stack.folder.mkdir()
    variables = {FOLDER_VARIABLE: str(stack.folder)}
    assert variables_of_stack(tmp_path, variables) == {}
    secrets = keep_secrets(stack)
    found = variables_of_stack(tmp_path, variables)
    state = state_of(Paths(tmp_path), found)
    assert {name: one.origin.partition("@")[0] for name, one in state.databases.items()} == {
        "mlflow": "postgresql://mlflow:***",
        "prefect": "postgresql://prefect:***",
    }
    assert secrets["CRACKS_MLFLOW_DB_PASSWORD"] in found[MLFLOW_DATABASE]
    assert state.files["artifacts"].origin == (stack.storage / "mlflow/artifacts").as_uri()
    assert found["CRACKS_SERVICE_DIR"] == str(stack.service)
    told = {"CRACKS_BACKUP_ARTIFACTS": "s3://elsewhere"}
    assert variables_of_stack(tmp_path, variables | told) == {}


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["mlruns/mlflow.db", "mlruns/artifacts/1/a", ".dvc/storage/a", "service/champion.json"]
)
def test_a_place_that_is_not_empty_is_named_and_nothing_is_restored(
    local: Site, archive: str, elsewhere: Site, path: str
) -> None:
    local.save(archive)
    write_files(elsewhere.paths.root, {path: b"precious"})
    before = tree(elsewhere.paths.root)
    with pytest.raises(BackupRefused, match=r"Not empty: (mlflow|artifacts|dvc|service) \("):
        elsewhere.restore(archive)
    assert tree(elsewhere.paths.root) == before


def test_a_damaged_backup_is_refused_by_the_name_of_the_file(
    local: Site, archive: str, elsewhere: Site
) -> None:
    manifest = local.save(archive)
    before = tree(elsewhere.paths.root)
    for part in manifest.parts:
        file = part.files[-1]
        content = stored(archive, file.sha256)
        whole = content.read_bytes()
        flip(content)
        with pytest.raises(BackupRefused, match=f"damaged: .*{re.escape(file.path)}"):
            elsewhere.restore(archive)
        content.unlink()
        with pytest.raises(BackupRefused, match=f"damaged: .*{re.escape(file.path)}"):
            elsewhere.restore(archive)
        content.write_bytes(whole)
    with pytest.raises(BackupRefused, match="leads out of its part"):
        Manifest.parse(manifest.text.replace("files/md5/ab/cdef", "../../cdef"), "it")
    (written,) = Path(archive).glob("*.json")
    written.write_text(written.read_text().replace("files/md5/ab", "files/md5/xx"))
    with pytest.raises(BackupRefused, match=rf"{written.name} is damaged"):
        elsewhere.restore(archive)
    assert tree(elsewhere.paths.root) == before


def test_places_that_do_not_belong_together_are_refused(
    local: Site, archive: str, elsewhere: Site, tmp_path: Path
) -> None:
    with pytest.raises(BackupRefused, match="has no back-up"):
        elsewhere.restore(archive)
    with pytest.raises(BackupRefused, match="lies within service"):
        local.save(str(local.paths.service / "backups"))
    with pytest.raises(BackupRefused, match=r"There is no database .*mlflow\.db"):
        elsewhere.save(archive)
    assert Archive(place_at(archive)).names == []
    for variables in (
        {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"},
        {"CRACKS_BACKUP_ARTIFACTS": "s3://mlflow/artifacts"},
        {"CRACKS_BACKUP_DATABASE_MLFLOW": "postgresql://u@h/mlflow"},
    ):
        with pytest.raises(BackupRefused, match="set both CRACKS_BACKUP_DATABASE_MLFLOW"):
            _ = replace(local, variables=variables).state
    unreachable = {
        "CRACKS_BACKUP_DATABASE_MLFLOW": f"postgresql://u:{PASSWORD}@127.0.0.1:1/mlflow",
        "CRACKS_BACKUP_ARTIFACTS": str(tmp_path / "artifacts"),
    }
    with pytest.raises(
        BackupRefused, match=r"^postgresql://u:\*\*\*@127.0.0.1:1/mlflow: "
    ) as refusal:
        replace(local, variables=unreachable).save(archive)
    assert PASSWORD not in str(refusal.value)


# --- what is killed -------------------------------------------------------------------------------

#: Small files, so many that a process can be killed among them.
MANY = 800


@pytest.mark.slow
def test_what_is_killed_is_no_backup_and_no_restore_until_it_was_run_again(
    start: StartProcess, local: Site, archive: str, elsewhere: Site, tmp_path: Path
) -> None:
    many = tmp_path / "many"
    write_files(many, {f"{n % 50}/{n}": str(n).encode() for n in range(MANY)})
    site = replace(local, variables={"CRACKS_BACKUP_DVC": str(many)})
    killed(site.run(start, "save", archive), lambda: count(Path(archive) / "objects"))
    assert Archive(place_at(archive)).names == []
    before = count(Path(archive) / "objects")
    assert 0 < before < MANY
    site.save(archive)
    killed(
        elsewhere.run(start, "restore", archive),
        lambda: count(elsewhere.paths.root / ".dvc/storage"),
    )
    storage = elsewhere.paths.root / ".dvc/storage"
    assert (storage / MARK).is_file()
    assert not (elsewhere.paths.local_tracking / "mlflow.db").exists()
    elsewhere.restore(archive)
    assert files(storage) == files(many)
    assert elsewhere.answer() == local.answer()


def test_a_restore_that_was_killed_at_its_very_end_is_run_again_too(
    local: Site, archive: str, elsewhere: Site
) -> None:
    local.save(archive)
    kept = Archive(place_at(archive))
    restoring = Restoring(kept.read(None), kept, elsewhere.state)
    restoring.restore()
    restoring._write_marks(elsewhere.state.files.values())
    restoring.restore()
    assert elsewhere.answer() == local.answer()
    assert not list(elsewhere.paths.root.rglob(MARK))
    write_files(elsewhere.paths.service, {MARK: b"of another one"})
    with pytest.raises(BackupRefused, match="Not empty: mlflow"):
        restoring.restore()


def killed(process: RunningProcess, done: Callable[[], int]) -> None:
    process.wait_until(lambda: done() > 40, "the first files")
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL


def count(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))
