"""The page ``/docs``: all routes of the emulator, without scripts and without another server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from airflow_provider_flux.emulator.faults import FAULTS

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{background:#f2f2f2;padding:.1rem .3rem}pre{overflow:auto;padding:.6rem}"
    "td{padding:.1rem .8rem .1rem 0;vertical-align:top}"
)


def render_docs_page(openapi: Mapping[str, Any]) -> str:
    """Return the page in HTML.

    :param openapi: the OpenAPI document of the application.
    """
    routes = "".join(_routes(openapi))
    faults = "".join(
        f"<tr><td><code>{escape(kind.usage)}</code><td>{kind.phase}<td>{escape(kind.meaning)}"
        for kind in FAULTS.values()
    )
    title = escape(openapi["info"]["title"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<style>{_STYLE}</style><h1>{title}</h1><p>{escape(openapi['info']['description'])} "
        "All schemas: <a href=openapi.json>openapi.json</a>. Counts: "
        "<a href=_emulator/stats>stats</a>, <a href=_emulator/timeline>timeline</a>.</p>"
        "<pre>curl -H 'x-key: bfl_emulator' --json '{\"prompt\": \"A lighthouse\"}' "
        "http://127.0.0.1:8484/v1/flux-pro-1.1</pre>"
        f"<h2>Routes</h2>{routes}<h2>Faults</h2><p>In a prompt: "
        f"<code>[[fault:NAME]]</code></p><table>{faults}</table></html>"
    )


def _routes(openapi: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            names = ", ".join(map(escape, sorted(_parameters(openapi, route))))
            yield (
                f"<h3><code>{method.upper()} {escape(path)}</code></h3>"
                f"<p>{escape(route.get('summary', ''))}</p>"
                + (f"<p>Parameters: {names}</p>" if names else "")
            )


def _parameters(openapi: Mapping[str, Any], route: Mapping[str, Any]) -> set[str]:
    """Return the names in query and body, of all modes of the body."""
    names = {parameter["name"] for parameter in route.get("parameters", ())}
    body = route.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = body.get("schema", {})
    for member in (schema, *schema.get("oneOf", ()), *schema.get("anyOf", ())):
        name = member.get("$ref", "").rpartition("/")[2]
        names |= set(openapi["components"]["schemas"].get(name, {}).get("properties", ()))
    return names
