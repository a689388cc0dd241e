"""The names of the images of all rows: checked against each other before the first submit."""

from __future__ import annotations

from collections.abc import Collection

from airflow_provider_flux.batch.input.rows import Row
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.landing.image_names import (
    NameRegister,
    WrittenName,
    find_name_problem,
    normalize_uri,
    planned_names,
    seed_of,
)
from airflow_provider_flux.landing.suffixes import (
    default_format,
    find_foreign_suffix,
    find_suffix_problem,
)
from airflow_provider_flux.landing.target import Target

#: Value of ``{ext}`` for a name whose suffix is to be that of any result.
_ANY_FORMAT = "ext"
#: End of a path whose names always have the right suffix.
_RIGHT_SUFFIX = ".{ext}"


class RowNames:
    """Checks the names that each row will write: image, renditions, sidecar and draft cache.

    :param target: the target of the batch. Each row gets its own index and key.
    :param reserved: URIs of the manifest and of the folder of the journal.
    """

    def __init__(self, target: Target, reserved: Collection[str] = ()) -> None:
        self._target = target
        self._reserved = tuple(f"{normalize_uri(uri)}/" for uri in reserved)
        self._register = NameRegister(target.path)

    def check(self, row: Row) -> Row:
        """Return the row, with a problem if it cannot have its names.

        :param row: the next row of the input.
        """
        for request in (row.request, row.fallback):
            if request is not None and (problem := self._find_problem(row, request)):
                return row.with_problem(problem)
        return row

    def _find_problem(self, row: Row, request: GenerationRequest) -> str | None:
        names = self._all_names_of(row, request)
        if problem := find_name_problem(names, self._reserved):
            return f"output_path {problem}"
        if problem := self._register_names(row, request, names):
            return problem
        if (row.path or self._target.path).endswith(_RIGHT_SUFFIX):
            return None
        model = request.catalog_model if request.is_checked else None
        image = self._names_of(row, request, ext=_ANY_FORMAT)[0].uri
        problem = find_foreign_suffix(image) or find_suffix_problem(
            image, model, request.parameters
        )
        return f"the name {image!r} {problem}" if problem else None

    def _all_names_of(self, row: Row, request: GenerationRequest) -> list[WrittenName]:
        """Return the names of a row, also those in the format that its request asks for.

        The rendition of an image may have the name of another image only in this format.
        """
        names = self._names_of(row, request)
        model = request.catalog_model
        expected = request.parameters.get("output_format") or (
            default_format(model, request.parameters) if model else None
        )
        if self._target.options.renditions and expected in {"png", "webp"}:
            names += self._names_of(row, request, ext=expected)
        return names

    def _names_of(
        self, row: Row, request: GenerationRequest, ext: str | None = None
    ) -> list[WrittenName]:
        target = self._target
        if row.path is not None:
            target = target.model_copy(update={"path": row.path})
        model = request.catalog_model
        is_named = "{fingerprint" in target.path  # otherwise it is not needed yet
        return planned_names(
            target,
            index=row.index,
            key=row.key,
            model=request.model,
            is_video=model is None or model.output == "video",
            fingerprint=request.fingerprint if is_named else None,
            seed=seed_of(request.parameters),
            ext=ext,
        )

    def _register_names(
        self, row: Row, request: GenerationRequest, names: list[WrittenName]
    ) -> str | None:
        taken = self._register.register(names, row.order)
        if taken is None or taken[2] == row.order:  # a fallback has the names of its row
            return None
        kind, first_kind, order = taken
        first, unit = row.place_of(order)
        if kind == first_kind == "image" and "{key}" not in self._target.path:
            reason = "would get the same name" if row.path else "is the same request"
            more = "" if row.path else ", and would get the same name"
            return f"{reason} as {unit} {first}{more}. Add {{key}} to output_path"
        remedy = (
            "Change the key, or the path in renditions"
            if "rendition" in kind + first_kind
            else "Change the key, or write {key}.{ext} in output_path"
        )
        return (
            f"its {kind} would replace the {first_kind} of {unit} {first}: both get the same name. "
            f"{remedy}"
        )
