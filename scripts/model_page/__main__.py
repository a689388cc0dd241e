"""Command line: ``python -m scripts.model_page [--check]``."""

import sys

from scripts.model_page import main

sys.exit(main())
