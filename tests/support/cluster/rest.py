"""The public REST API of a test cluster."""

from __future__ import annotations

from typing import Any

import httpx

WATCHED = ("metadatabase", "scheduler", "triggerer", "dag_processor")


class RestApi:
    """Calls to ``/api/v2`` as administrator, which SimpleAuthManager makes everybody."""

    def __init__(self, base_url: str) -> None:
        """Take the URL of the api-server, which need not run yet."""
        # Without kept connections, no call uses a dead one after a restart of the api-server.
        self._http = httpx.Client(
            base_url=base_url,
            trust_env=False,
            timeout=120,  # a machine with much load
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def unhealthy(self) -> set[str]:
        """Return the parts that are unhealthy; all of them while the endpoint does not answer."""
        try:
            health = self._http.get("/api/v2/monitor/health").raise_for_status().json()
        except httpx.HTTPError:
            return {"api_server", *WATCHED}
        return {part for part in WATCHED if health[part]["status"] == "unhealthy"}

    def is_up(self) -> bool:
        """Whether the api-server serves requests."""
        return "api_server" not in self.unhealthy()

    def get(self, path: str) -> Any:
        """GET ``/api/v2`` + path and return the decoded response."""
        return self._call("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST a JSON body to ``/api/v2`` + path and return the decoded response."""
        return self._call("POST", path, body)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        """PATCH ``/api/v2`` + path with a JSON body and return the decoded response."""
        return self._call("PATCH", path, body)

    def delete(self, path: str) -> None:
        """DELETE ``/api/v2`` + path."""
        self._call("DELETE", path)

    def close(self) -> None:
        """Release the client."""
        self._http.close()

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        if "Authorization" not in self._http.headers:
            token = self._http.get("/auth/token").raise_for_status().json()["access_token"]
            self._http.headers["Authorization"] = f"Bearer {token}"
        response = self._http.request(method, f"/api/v2{path}", json=body)
        if response.is_error:
            raise RuntimeError(f"{method} {path}: {response.status_code} {response.text}")
        return response.json() if response.content else None
