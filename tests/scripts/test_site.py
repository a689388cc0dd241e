"""The parts of the documentation site that need no mkdocs: sections, links, pages, one page."""

from __future__ import annotations

import pytest

from scripts.site.pages import prepare_page, summary_of, title_of
from scripts.site.sections import SectionError, arrange, pages_of
from scripts.site.source_links import example_pages, find_sources, rewrite_links
from scripts.site.whole import SitePage, llms_index, markdown_files, one_page

PAGE = "# A `title`\n\n<!-- hidden -->\n- First [line](a.md).\n- Second line.\n\n| a |\n|---|\n"


class TestSections:
    def test_a_new_page_of_a_folder_appears_in_the_section_of_the_folder(self) -> None:
        navigation = arrange(["index.md", "how-to/new.md", "examples/flux_x.md", "security.md"])
        assert pages_of(navigation) == [
            ("Start", "index.md"),
            ("How-to", "how-to/new.md"),
            ("How-to", "examples/flux_x.md"),
            ("Security", "security.md"),
        ]

    def test_a_page_that_is_in_no_section_fails_the_build_by_its_name(self) -> None:
        with pytest.raises(SectionError, match=r"in no section: lost\.md"):
            arrange(["index.md", "lost.md"])


class TestLinks:
    def test_a_link_to_an_example_dag_leads_to_its_page_on_the_site(self) -> None:
        text = rewrite_links("[dag](../../example_dags/flux_mapped.py#x)", "how-to/edit.md")
        assert text == "[dag](../examples/flux_mapped.md#x)"
        assert "examples/flux_mapped.md" in example_pages()

    def test_a_link_of_the_changelog_leads_to_the_same_page_without_its_folder(self) -> None:
        assert rewrite_links("[page](docs/errors.md#a)", "CHANGELOG.md") == "[page](errors.md#a)"

    def test_a_link_to_a_source_of_the_package_gets_a_page_with_its_text(self) -> None:
        text = "[code](../airflow_provider_flux/generation.py)"
        assert find_sources(text, "index.md") == {"airflow_provider_flux/generation.py"}
        assert "source/airflow_provider_flux/generation.py.md" in rewrite_links(text, "index.md")

    def test_links_in_code_and_to_the_web_stay_as_they_are(self) -> None:
        text = "```\n[a](../README.md)\n```\n[b](https://docs.bfl.ai) [c](errors.md)"
        assert rewrite_links(text, "index.md") == text


class TestPages:
    def test_a_page_has_a_title_and_a_summary_of_its_first_lines(self) -> None:
        assert (title_of(PAGE), summary_of(PAGE)) == ("A title", "First line.")

    def test_a_picture_in_two_schemes_follows_the_scheme_that_the_reader_chose(self) -> None:
        picture = (
            '<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="a-dark.webp">\n'
            '  <img alt="A task" src="a-light.webp">\n</picture>\n'
        )
        shown = prepare_page(picture, "gallery.md", {})
        assert "![A task](a-light.webp#only-light)![A task](a-dark.webp#only-dark)" in shown

    def test_a_link_that_shows_the_name_of_a_file_shows_the_title_of_its_page(self) -> None:
        text = "[errors.md](../errors.md#a), [a word](../errors.md), [gone.md](gone.md)"
        shown = prepare_page(
            f"{text}\n```\n[errors.md](x)\n```", "how-to/a.md", {"errors.md": "Errors"}
        )
        assert shown == (
            "[Errors](../errors.md#a), [a word](../errors.md), [gone.md](gone.md)\n"
            "```\n[errors.md](x)\n```"
        )


class TestOnePage:
    PAGES = (
        SitePage("Start", "One", "one.html", "# One", "First.", '<h1 id="x">One</h1>'),
        SitePage(
            "How-to",
            "Two",
            "how-to/two.html",
            "# Two",
            "",
            '<a href="../one.html#x">1</a><a href="#y">2</a><img src="../images/a.webp">',
        ),
    )

    def test_links_between_pages_become_links_within_the_page_of_all(self) -> None:
        text = one_page(self.PAGES, "Docs", "1.0")
        assert '<h1 id="one--x">' in text
        assert '<a href="#one--x">1</a><a href="#how-to-two--y">2</a>' in text
        assert '<img src="images/a.webp">' in text

    def test_the_index_for_programs_links_to_the_text_of_each_page(self) -> None:
        index = llms_index(self.PAGES, "Docs", "All of it")
        assert "## Start\n\n- [One](one.md): First.\n" in index
        assert "- [Two](how-to/two.md)\n" in index
        assert markdown_files(self.PAGES)["how-to/two.md"] == "# Two"
