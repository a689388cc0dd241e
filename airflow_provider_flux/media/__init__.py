"""Images and videos: reading the inputs of a request, and checking files by their headers."""
