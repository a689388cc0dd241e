"""The release workflow has the fewest permissions, fixed actions, and no stored token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / ".github" / "workflows" / "release.yml").read_text()
WORKFLOW: dict[Any, Any] = yaml.safe_load(TEXT)
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
#: All that each job may do.
PERMISSIONS = {
    "test": {"contents": "read"},
    "build": {"contents": "read"},
    "attest": {"id-token": "write", "attestations": "write"},
    "publish": {"id-token": "write"},
    "announce": {"contents": "write"},
}


def steps(job: str) -> list[dict[str, Any]]:
    return list(JOBS[job]["steps"])


def commands(job: str) -> str:
    return "\n".join(step.get("run", "") for step in steps(job))


def uses() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield job, action and inputs of each step that uses an action."""
    for job in JOBS:
        for step in steps(job):
            if "uses" in step:
                yield job, step["uses"], step.get("with", {})


def needed_by(job: str) -> set[str]:
    """Return the jobs that must have succeeded before a job."""
    direct = set(JOBS[job].get("needs", []))
    return direct.union(*(needed_by(name) for name in direct))


def test_each_job_has_exactly_the_permissions_that_it_needs() -> None:
    assert WORKFLOW["permissions"] == {}
    assert {name: job["permissions"] for name, job in JOBS.items()} == PERMISSIONS


def test_a_job_with_a_write_permission_runs_no_code_of_the_repository() -> None:
    for job, permissions in PERMISSIONS.items():
        if "write" in permissions.values():
            assert not any("checkout" in action for name, action, _ in uses() if name == job), job
            assert not re.search(r"python|\.ci|make", commands(job)), job


def test_only_a_tag_starts_a_release() -> None:
    assert WORKFLOW[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads the key `on` as true


def test_nothing_is_published_before_tests_build_and_attestations() -> None:
    assert needed_by("publish") == {"test", "build", "attest"}
    assert JOBS["publish"]["environment"] == "pypi"
    assert [name for name, job in JOBS.items() if "environment" in job] == ["publish"]


def test_each_action_has_a_version_and_a_checkout_keeps_no_credentials() -> None:
    found = list(uses())
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+(\.\d+)*", action) for _, action, _ in found)
    checkouts = [inputs for _, action, inputs in found if action.startswith("actions/checkout@")]
    assert checkouts == [{"persist-credentials": False}] * 2


def test_there_is_no_stored_token_and_no_address() -> None:
    assert "secrets." not in TEXT
    assert "password" not in TEXT
    assert "://" not in TEXT


def test_no_command_contains_an_expression_that_a_tag_name_could_break_out_of() -> None:
    assert not any("${{" in commands(job) for job in JOBS)


def test_the_build_checks_the_tag_before_it_builds_and_describes_what_it_built() -> None:
    order = [
        "scripts.check_release_tag",
        "-m build",
        "twine check --strict",
        "cyclonedx-py environment",
    ]
    positions = [commands("build").index(part) for part in order]
    assert positions == sorted(positions)
    attested = {
        action.partition("@")[0]: inputs for job, action, inputs in uses() if job == "attest"
    }
    sbom = attested["actions/attest-sbom"]
    assert attested["actions/attest-build-provenance"]["subject-path"] == "dist/*"
    assert sbom["subject-path"] == "dist/*"
    assert f"--output-file {sbom['sbom-path']}" in commands("build")


def test_each_file_that_a_command_reads_exists() -> None:
    files = set(re.findall(r"requirements/\w+\.txt|pyproject\.toml|\.ci/run", commands("build")))
    files |= set(re.findall(r"\.ci/run", commands("test")))
    assert files == {
        ".ci/run",
        "pyproject.toml",
        "requirements/release.txt",
        "requirements/runtime.txt",
    }
    assert all((ROOT / file).is_file() for file in files)
