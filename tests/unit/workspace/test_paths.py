"""Where everything lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from cracks.errors import WorkspaceError
from cracks.workspace.paths import Paths, open_workspace


def test_a_checkout_with_dvc_is_a_workspace(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    assert open_workspace(tmp_path / "link") == Paths(tmp_path.resolve())


@pytest.mark.parametrize("there", [[], [".dvc/"], ["dvc.yaml"], [".dvc", "dvc.yaml"]])
def test_any_other_folder_is_refused(tmp_path: Path, there: list[str]) -> None:
    for name in there:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    with pytest.raises(WorkspaceError, match="is no workspace"):
        open_workspace(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"There is no folder .*nowhere"):
        open_workspace(tmp_path / "nowhere")


def test_the_service_folder_lies_in_the_workspace_unless_the_environment_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CRACKS_SERVICE_DIR", raising=False)
    assert Paths(tmp_path).service == tmp_path.resolve() / "service"
    monkeypatch.setenv("CRACKS_SERVICE_DIR", str(tmp_path / "shared"))
    assert Paths(tmp_path).service == tmp_path.resolve() / "shared"
