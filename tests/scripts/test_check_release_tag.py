"""The tag, the version and the changelog agree before a release."""

from __future__ import annotations

import pytest

from airflow_provider_flux import __version__
from scripts import check_release_tag
from scripts.check_release_tag import find_problems

CHANGELOG = "# Changelog\n\n## 0.2.0 (2026-12-01)\n\n### Added\n\n## 0.1.0 (unreleased)\n"


class TestFindProblems:
    def test_a_tag_of_the_version_with_a_dated_section_has_no_problem(self) -> None:
        assert find_problems("v0.2.0", "0.2.0", CHANGELOG) == []

    @pytest.mark.parametrize(
        ("tag", "version", "problem"),
        [
            ("v0.2.1", "0.2.0", "The tag is v0.2.1, and the version is 0.2.0"),
            ("0.2.0", "0.2.0", "tag v0.2.0"),
            ("v0.1.0", "0.1.0", "has no date"),
            ("v0.3.0", "0.3.0", "has no section 0.3.0"),
            ("v0.2", "0.2", "has no section 0.2"),
        ],
    )
    def test_what_does_not_agree_is_named(self, tag: str, version: str, problem: str) -> None:
        (found,) = find_problems(tag, version, CHANGELOG)
        assert problem in found


class TestMain:
    def test_the_tag_of_another_version_ends_with_exit_code_1(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert check_release_tag.main(["v999.0.0"]) == 1
        assert f"the version is {__version__}" in capsys.readouterr().out

    def test_a_call_without_a_tag_ends_with_exit_code_2(self) -> None:
        assert check_release_tag.main([]) == 2
