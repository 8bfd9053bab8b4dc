"""The commit that a run records is that of the product's checkout, never of a repository around an installed copy."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from grokstudy.trainables.versions import commit_of, git_commit

ROOT = Path(__file__).resolve().parents[2]
PROJECT = '[project]\nname = "grokstudy"\n'


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def repository(folder: Path, project: str | None) -> str:
    """Make a repository of one commit, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    if project is not None:
        (folder / "pyproject.toml").write_text(project)
    (folder / "file").touch()
    git(folder, "init", "--quiet")
    git(folder, "add", "file", *(["pyproject.toml"] if project is not None else []))
    git(folder, "commit", "--quiet", "--message", "one")
    return git(folder, "rev-parse", "HEAD")


def test_own_checkout_has_its_commit_with_what_was_changed(tmp_path: Path) -> None:
    commit = repository(tmp_path, PROJECT)
    assert commit_of(tmp_path) == commit
    (tmp_path / "new").touch()
    assert commit_of(tmp_path) == commit
    (tmp_path / "file").write_text("changed")
    assert commit_of(tmp_path) == f"{commit}+changes"


def test_a_worktree_of_the_checkout_counts(tmp_path: Path) -> None:
    commit = repository(tmp_path / "main", PROJECT)
    git(tmp_path / "main", "worktree", "add", "--quiet", str(tmp_path / "other"))
    assert commit_of(tmp_path / "other") == commit


@pytest.mark.parametrize("project", [None, '[project]\nname = "theirs"\n', "not [toml", PROJECT])
def test_a_repository_around_an_installed_copy_is_the_users(tmp_path: Path, project: str | None) -> None:
    repository(tmp_path, project)
    installed = tmp_path / ".venv/lib/python3/site-packages/grokstudy"
    installed.mkdir(parents=True)
    assert commit_of(installed) is None
    if project != PROJECT:
        assert commit_of(tmp_path) is None
    (installed / "pyproject.toml").write_text(PROJECT)  # a checkout without its .git, within the user's repository
    assert commit_of(installed) is None


def test_a_hook_of_another_repository_does_not_lead_astray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = repository(tmp_path / "ours", PROJECT)
    repository(tmp_path / "theirs", None)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "theirs/.git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "theirs/.git/index"))
    assert commit_of(tmp_path / "ours") == ours
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/pyproject.toml").write_text(PROJECT)
    assert commit_of(tmp_path / "copy") is None


def test_outside_of_a_checkout_the_environment_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grokstudy.trainables.versions.commit_of", lambda folder: None)
    monkeypatch.setenv("GROKSTUDY_COMMIT", "abc")
    git_commit.cache_clear()
    assert git_commit() == "abc"
    monkeypatch.delenv("GROKSTUDY_COMMIT")
    git_commit.cache_clear()
    assert git_commit() is None
    git_commit.cache_clear()
