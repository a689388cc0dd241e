"""``python -m airflow_provider_flux recover``, for Airflow without commands of providers."""

from __future__ import annotations

from airflow_provider_flux.cli.commands import main

if __name__ == "__main__":
    main()
