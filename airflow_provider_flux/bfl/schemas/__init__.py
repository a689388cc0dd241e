"""Request schemas of the BFL models, with the service's own names, types, ranges and defaults.

Three parts of the package use them: the validation before a submit, the emulator (which answers
with the same 422 bodies as the service, FastAPI over pydantic) and the documentation. Source: the
OpenAPI document of api.bfl.ai. A schema describes what the service *accepts*. The defaults that the
operators send in addition are in :mod:`~airflow_provider_flux.bfl.catalog`.
"""
