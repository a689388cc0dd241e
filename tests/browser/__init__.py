"""The gallery in a browser, on a real API server."""
