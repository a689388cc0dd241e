"""The application that the API server mounts at ``/flux``.

Each router of pages checks on every route who asks: see
:mod:`~airflow_provider_flux.plugin.access`. Webhooks of BFL prove themselves by a secret.
"""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from airflow_provider_flux.links.gallery import has_gallery, has_webhooks
from airflow_provider_flux.plugin.error_pages import add_error_pages
from airflow_provider_flux.plugin.headers import SecurityHeaders


def create_app() -> SecurityHeaders:
    """Return the application with the headers that each of its answers has, errors included."""
    return SecurityHeaders(create_fastapi())


def create_fastapi() -> FastAPI:
    """Return the application, with the routers that the configuration switches on."""
    # Airflow documents its own API. The pages here are for its UI, and have no stable paths.
    # No redirect to an address without a slash at its end: it would name the host of the request.
    app = FastAPI(
        title="FLUX", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    for router in _routers():
        app.include_router(router)
    add_error_pages(app)
    return app


def _routers() -> list[APIRouter]:
    """Return the routers. One that is switched off is not imported."""
    routers: list[APIRouter] = []
    if has_gallery():
        from airflow_provider_flux.plugin.costs import router as costs_router
        from airflow_provider_flux.plugin.gallery_routes import router
        from airflow_provider_flux.plugin.review import router as review_router

        routers += [router, review_router, costs_router]
    if has_webhooks():
        from airflow_provider_flux.plugin.webhooks import router as webhook_router

        routers.append(webhook_router)
    return routers
