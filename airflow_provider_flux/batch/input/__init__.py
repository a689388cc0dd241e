"""Input of a batch: from a list or a file to rows with a checked request.

A CSV cell takes this way to a parameter: ``sources`` tells a list from a file, ``files`` opens the
file, ``file_formats`` reads its lines into ``raw_rows``, ``json_values`` makes each value plain
JSON, ``mapping`` says which column is which parameter, ``requests`` builds and checks the request,
and ``rows`` yields the result with a key from ``row_keys``.
"""
