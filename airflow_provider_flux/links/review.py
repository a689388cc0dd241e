"""Link to the review page of a task."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_flux.links.gallery import has_gallery, ui_path, ui_url


class ReviewLink(BaseOperatorLink):
    """Link to the page on which a person chooses among the candidates; empty without a gallery."""

    name = "Review"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the URL of the page, relative to the API server, or an empty text.

        :param operator: the operator that has run; not needed.
        :param ti_key: the task instance, or its key.
        """
        if not has_gallery() or getattr(ti_key, "dag_id", None) is None:
            return ""
        from airflow_provider_flux.landing.provenance import identify_task
        from airflow_provider_flux.review.form import review_path

        return ui_path(review_path(identify_task(ti_key)))


def review_url(ti: Any) -> str:
    """Return the whole URL of the review page of a task, for a message outside of Airflow.

    :param ti: the task instance.
    :return: empty if there is no gallery, or if ``[api] base_url`` is not set.
    """
    return ui_url(ReviewLink().get_link(None, ti_key=ti))
