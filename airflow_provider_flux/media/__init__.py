"""Images and videos: what one is, and how an input of a request is read from wherever it lies."""
