"""``python -m scripts.model_page``: write the page, or check it."""

import sys

from scripts.model_page import main

sys.exit(main())
