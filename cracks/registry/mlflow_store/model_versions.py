"""The model registry: versions, and which of them are called champion and previous."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cracks.errors import TrackingError
from cracks.registry.mlflow_store.connection import Connection, shortened
from cracks.registry.mlflow_store.records import ModelVersion

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowModelVersion

#: The aliases: the version in service, and the one that was before it.
CHAMPION, PREVIOUS = "champion", "previous"


class Registry:
    """The versions of one registered model."""

    def __init__(self, connection: Connection, model_name: str) -> None:
        """Know the model by its name; it need not exist yet."""
        self._connection, self.model_name = connection, model_name
        self._client = connection.client

    def register(self, run_id: str, tags: Mapping[str, str], description: str) -> ModelVersion:
        """Make the model of a run a new version; the same run never makes a second one.

        Raises:
            TrackingError: the registry refused.
        """
        known = self.of_run(run_id)
        if known:
            return known
        import mlflow

        with self._connection.explained(), self._connection.current():
            # Not the client's `create_model_version`: it does not find the model of a run.
            created = mlflow.register_model(
                f"runs:/{run_id}/model", self.model_name, tags=shortened(tags)
            )
            self._client.update_model_version(self.model_name, created.version, description)
        return _model_version(created)

    def versions(self) -> list[ModelVersion]:
        """Return all versions, the newest first."""
        with self._connection.explained():
            found = self._client.search_model_versions(f"name = '{self.model_name}'")
            # The search leaves the aliases out.
            model = self._client.search_registered_models(f"name = '{self.model_name}'")
        aliases: dict[str, list[str]] = {}
        for alias, version in (model[0].aliases if model else {}).items():
            aliases.setdefault(str(version), []).append(alias)
        listed = [_model_version(one, aliases.get(str(one.version), [])) for one in found]
        return sorted(listed, key=lambda one: int(one.version), reverse=True)

    def version(self, number: str) -> ModelVersion:
        """Return a version of this model by its number.

        Raises:
            TrackingError: there is none.
        """
        found = next((one for one in self.versions() if one.version == number), None)
        if found is None:
            raise TrackingError(
                f"{self.model_name} has no version {number}. `cracks models` lists them."
            )
        return found

    def of_run(self, run_id: str) -> ModelVersion | None:
        """Return the version that was made of a run, or None."""
        return next((one for one in self.versions() if one.run_id == run_id), None)

    def champion(self) -> ModelVersion | None:
        """Return the version that the alias `champion` names, or None."""
        return self._named(CHAMPION)

    def previous(self) -> ModelVersion | None:
        """Return the version that the alias `previous` names, or None."""
        return self._named(PREVIOUS)

    def _named(self, alias: str) -> ModelVersion | None:
        return next((one for one in self.versions() if alias in one.aliases), None)

    def move_aliases(self, *, champion: str | None, previous: str | None) -> None:
        """Let the aliases name these versions; None takes an alias away.

        Raises:
            TrackingError: there is no such version.
        """
        with self._connection.explained():
            # In this order: cut in two, the old champion bears both names, and none is lost.
            for alias, version in ((PREVIOUS, previous), (CHAMPION, champion)):
                if version is None:
                    self._client.delete_registered_model_alias(self.model_name, alias)
                else:
                    self._client.set_registered_model_alias(self.model_name, alias, version)

    def download_keras_model(self, number: str, folder: Path) -> Path:
        """Fetch the registered Keras model into `folder` and return its .keras file, not loaded.

        Raises:
            TrackingError: the version has none.
        """
        import mlflow

        with self._connection.explained(), self._connection.current():
            fetched = mlflow.artifacts.download_artifacts(
                f"models:/{self.model_name}/{number}", dst_path=str(folder / "registered")
            )
        found = next(Path(fetched).rglob("*.keras"), None)
        if found is None:
            raise TrackingError(
                f"Version {number} of {self.model_name} holds no Keras model. `cracks train` "
                "registers models with theirs."
            )
        return found

    def tag(self, number: str, tags: Mapping[str, str]) -> None:
        """Set tags on a version."""
        with self._connection.explained():
            for key, value in shortened(tags).items():
                self._client.set_model_version_tag(self.model_name, number, key, value)


def _model_version(found: MlflowModelVersion, aliases: list[str] | None = None) -> ModelVersion:
    return ModelVersion(
        name=str(found.name),
        version=str(found.version),
        run_id=str(found.run_id),
        aliases=sorted(aliases or []),
        tags=dict(found.tags),
        created=found.creation_timestamp / 1000,
    )
