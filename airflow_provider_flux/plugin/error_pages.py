"""Answers to requests that fail: short, without a trace of what the server holds."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from airflow_provider_flux.plugin.views import message_page

_SENTENCES = {
    status.HTTP_401_UNAUTHORIZED: "You are not logged in. Log in to Airflow and open it again.",
    status.HTTP_403_FORBIDDEN: "You may not see this. Ask for access to the XComs of the DAG.",
    status.HTTP_404_NOT_FOUND: "There is nothing here.",
    status.HTTP_405_METHOD_NOT_ALLOWED: "This page does not support the method.",
    status.HTTP_422_UNPROCESSABLE_CONTENT: "The address of the page is wrong.",
}


def add_error_pages(app: FastAPI) -> None:
    """Let an application answer errors with a sentence.

    :param app: the application.
    """
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_wrong_request)
    app.add_exception_handler(Exception, _answer_bug)


async def _answer_http_error(request: Request, error: Any) -> Response:
    text = _SENTENCES.get(error.status_code, str(error.detail))
    return _answer(request, error.status_code, text, error.headers)


async def _answer_wrong_request(request: Request, error: Any) -> Response:
    code = status.HTTP_422_UNPROCESSABLE_CONTENT
    return _answer(request, code, _SENTENCES[code])


async def _answer_bug(request: Request, error: Any) -> Response:
    # Starlette logs the error. Its text may hold what strangers wrote.
    code = status.HTTP_500_INTERNAL_SERVER_ERROR
    return _answer(request, code, "The page failed. The log of the API server has the reason.")


def _answer(
    request: Request, code: int, text: str, headers: dict[str, str] | None = None
) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"detail": text}, code, headers=headers)
    return HTMLResponse(message_page("FLUX images", text), code, headers=headers)
