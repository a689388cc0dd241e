"""Gallery and review page in a browser, on a real API server."""
