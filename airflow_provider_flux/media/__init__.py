"""Images and videos: inspect a result, and read the inputs of a request."""
