"""Files that a task reads and writes, for its links and its lineage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from airflow_provider_flux.generation import Generation, LandedImage

#: Files that lineage names one by one. Of more, it names the folders.
MAX_LISTED_FILES = 100


@dataclass
class InputFiles:
    """The distinct input files of a task, without those that are base64.

    Of more than 100 files only the folders are kept, and of more than 100 folders the first.
    """

    _files: dict[str, None] = field(default_factory=dict)
    _folders: dict[str, None] = field(default_factory=dict)

    def add(self, uri: str) -> None:
        """Add a file.

        :param uri: URI, URL or absolute path.
        """
        if len(self._files) <= MAX_LISTED_FILES:
            self._files[uri] = None
        if len(self._folders) < MAX_LISTED_FILES:
            self._folders[folder_of(uri)] = None

    def uris(self) -> list[str]:
        """Return the files, or the folders if there are too many files."""
        return list(self._files if len(self._files) <= MAX_LISTED_FILES else self._folders)


@dataclass
class TaskFiles:
    """Files of one phase of a task. After a deferral, the next phase fills in its own.

    :param inputs: input images and videos.
    :param rows_file: file with the rows of a batch; ``None`` without one.
    :param folder: folder that the images land in, as far as it is known before they have landed;
        ``None`` without one.
    :param images: the images and videos that have landed.
    :param image_count: number of landed images of a batch, which lists none of them.
    :param manifest: URI of the manifest of a batch; ``None`` without one.
    :param manifest_rows: rows of the manifest; ``None`` while it is not written.
    :param request_id: BFL's id of the request; ``None`` for a batch or a list.
    """

    inputs: InputFiles = field(default_factory=InputFiles)
    rows_file: str | None = None
    folder: str | None = None
    images: list[LandedImage] = field(default_factory=list)
    image_count: int = 0
    manifest: str | None = None
    manifest_rows: int | None = None
    request_id: str | None = None

    def add_landed(self, generations: Iterable[Generation]) -> None:
        """Add the images of generations that have landed.

        :param generations: generations that the task returns.
        """
        for generation in generations:
            landed = generation["image"] or generation["video"]
            if landed is not None:
                self.images.append(landed)
                self.image_count += 1


def folder_of(uri: str) -> str:
    """Return the folder of a file, with a slash at its end.

    :param uri: URI or absolute path.
    """
    return f"{uri.partition('?')[0].rpartition('/')[0]}/"
