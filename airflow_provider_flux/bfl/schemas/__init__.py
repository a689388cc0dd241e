"""Request schemas of the BFL models, with the service's own names, types, ranges and defaults.

They are the one source for validation before a request is paid, for the emulator (which answers
with the same 422 bodies as the service, FastAPI over pydantic) and for the documentation.
Source: the OpenAPI document of api.bfl.ai. A schema says what the service *accepts*; what our
operators send by default beyond that is in :mod:`~airflow_provider_flux.bfl.catalog`.
"""
