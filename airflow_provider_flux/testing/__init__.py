"""Test DAGs with pytest: the plugin, and what its fixtures do with Airflow.

Only pytest imports :mod:`~airflow_provider_flux.testing.plugin`, by its entry point. It imports
Airflow and the emulator in the first test that needs them, because pytest loads it in every
project of an environment.
"""

from __future__ import annotations
