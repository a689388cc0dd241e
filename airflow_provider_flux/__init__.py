"""Apache Airflow provider for FLUX image generation by Black Forest Labs (BFL)."""

from __future__ import annotations

__version__ = "0.1.0"
