"""Input of a batch: from a list or a file to rows with a checked request.

A CSV cell becomes a parameter in these steps: ``sources`` distinguishes a list from a file,
``files`` opens the file, ``file_formats`` reads its lines into ``raw_rows``, ``json_values`` makes
each value plain JSON, ``mapping`` assigns columns to parameters, ``requests`` builds and checks the
request, and ``rows`` yields the result with a key from ``row_keys``.
"""
