"""Classification of the real exception classes of the clients."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import aiohttp
import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ServiceRequestError
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError
from gcsfs.retry import HttpError
from s3fs.errors import translate_boto_error

from airflow_provider_flux.object_store.errors import (
    describe_error,
    find_code,
    is_conflict,
    is_transient,
    is_withheld,
)


def s3_error(status: int, code: str, **more: str) -> BaseException:
    response = {
        "Error": {"Code": code, "Message": code, **more},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    made: BaseException = translate_boto_error(ClientError(response, "PutObject"))  # type: ignore[arg-type]
    return made


def azure_error(kind: type[HttpResponseError], status: int, code: str) -> BaseException:
    error = kind(message=code)
    error.status_code, error.error_code = status, code  # type: ignore[attr-defined]
    return error


def gcs_error(status: int) -> BaseException:
    return HttpError({"code": status, "message": "message"})


def wrap(error: BaseException) -> BaseException:
    """Return an error that hides another one as its cause."""
    try:
        raise RuntimeError("outer") from error
    except RuntimeError as outer:
        return outer


CONFLICTS = {
    "aws": s3_error(412, "PreconditionFailed", Condition="If-None-Match"),
    "radosgw": s3_error(412, "PreconditionFailed"),
    "a HEAD-like answer": s3_error(412, "412"),
    "azure": azure_error(ResourceExistsError, 409, "BlobAlreadyExists"),
    "azure, by condition": azure_error(HttpResponseError, 412, "ConditionNotMet"),
    "gcs": gcs_error(412),
    "file": FileExistsError("x"),
    "hidden": wrap(s3_error(412, "PreconditionFailed")),
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_an_error_about_an_existing_object_is_a_conflict_and_not_transient(name: str) -> None:
    assert is_conflict(CONFLICTS[name])
    assert not is_transient(CONFLICTS[name])


def test_the_412_of_other_stores_is_not_the_kind_that_s3fs_knows() -> None:
    error = CONFLICTS["radosgw"]
    assert isinstance(error, OSError)
    assert not isinstance(error, FileExistsError)
    assert error.errno == errno.EINVAL


NO_CONFLICTS: list[Any] = [
    s3_error(403, "AccessDenied"),
    s3_error(404, "NoSuchBucket"),
    s3_error(503, "SlowDown"),
    azure_error(HttpResponseError, 403, "AuthenticationFailed"),
    gcs_error(429),
    OSError(errno.EINVAL, "x"),
    PermissionError("x"),
    # Another write is under way, or the container is: the name may be free.
    s3_error(409, "ConditionalRequestConflict"),
    s3_error(409, "OperationAborted"),
    azure_error(HttpResponseError, 409, "ContainerBeingDeleted"),
]


@pytest.mark.parametrize("error", NO_CONFLICTS, ids=repr)
def test_no_other_error_is_taken_for_a_conflict(error: BaseException) -> None:
    assert not is_conflict(error)


PASSING: list[Any] = [
    s3_error(503, "SlowDown"),
    s3_error(500, "InternalError"),
    s3_error(400, "RequestTimeout"),
    s3_error(409, "ConditionalRequestConflict"),
    s3_error(409, "OperationAborted"),
    azure_error(HttpResponseError, 503, "ServerBusy"),
    azure_error(HttpResponseError, 500, "OperationTimedOut"),
    gcs_error(429),
    gcs_error(503),
    gcs_error(408),
    EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
    ServiceRequestError("no route"),
    aiohttp.ServerDisconnectedError(),
    ConnectionResetError(),
    TimeoutError(),
    wrap(s3_error(503, "SlowDown")),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_an_error_that_may_pass_is_transient(error: BaseException) -> None:
    assert is_transient(error)


LASTING: list[Any] = [
    s3_error(403, "AccessDenied"),
    s3_error(404, "NoSuchBucket"),
    s3_error(400, "InvalidArgument"),
    azure_error(HttpResponseError, 404, "ContainerNotFound"),
    gcs_error(401),
    gcs_error(403),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    OSError(errno.EROFS, "Read-only file system"),
    OSError(errno.ENAMETOOLONG, "File name too long"),
    IsADirectoryError(),
    NotADirectoryError(),
    ParamValidationError(report="Invalid type for parameter BucketKeyEnabled"),
    AttributeError("'str' object has no attribute 'value'"),
]


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_an_error_that_will_come_again_is_not_transient(error: BaseException) -> None:
    assert not is_transient(error)


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit()], ids=repr
)
def test_a_cancellation_or_exit_is_not_transient(error: BaseException) -> None:
    assert not is_transient(error)


def ceph_error(status: int, code: str) -> BaseException:
    """Return the exception of s3fs for an answer without a message."""
    response: Any = {
        "Error": {"Code": code, "Message": None},  # botocore parses an empty element so
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    made: BaseException = translate_boto_error(ClientError(response, "PutObject"))
    return made


DESCRIBED: list[tuple[BaseException, str]] = [
    (
        ceph_error(403, "SignatureDoesNotMatch"),
        "PermissionError: SignatureDoesNotMatch, HTTP 403",
    ),
    (ceph_error(404, "NoSuchBucket"), "FileNotFoundError: NoSuchBucket, HTTP 404"),
    (ceph_error(400, "InvalidArgument"), "OSError: InvalidArgument, HTTP 400"),
    (
        azure_error(HttpResponseError, 403, "AuthenticationFailed"),
        "HttpResponseError: AuthenticationFailed (HTTP 403)",
    ),
    (gcs_error(429), "HttpError: message, 429 (HTTP 429)"),
    (wrap(ceph_error(503, "SlowDown")), "RuntimeError: outer (SlowDown, HTTP 503)"),
    (PermissionError("/media is read-only"), "PermissionError: /media is read-only"),
    (OSError(errno.EINVAL, None), "OSError: the store sent no message"),
]


@pytest.mark.parametrize(("error", "expected"), DESCRIBED, ids=repr)
def test_the_description_of_an_error_names_the_code_and_the_status_of_the_store(
    error: BaseException, expected: str
) -> None:
    """Fault 40: a store that sends a code and no message was described as ``None``."""
    assert describe_error(error) == expected


@pytest.mark.parametrize(
    "code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidObjectState"]
)
def test_a_403_about_the_credentials_does_not_say_that_an_object_is_missing(code: str) -> None:
    """Fault 40: wrong credentials counted as a missing object."""
    assert find_code(ceph_error(403, code)) == code
    assert not is_withheld(ceph_error(403, code))
    assert not is_withheld(azure_error(HttpResponseError, 403, "AuthenticationFailed"))


WITHHELD: list[Any] = [
    ceph_error(403, "AccessDenied"),
    s3_error(403, "403"),
    azure_error(HttpResponseError, 403, "AuthorizationPermissionMismatch"),
    OSError("Forbidden: https://storage.example/b/o"),
]


@pytest.mark.parametrize("error", WITHHELD, ids=repr)
def test_a_403_about_the_rights_may_hide_that_an_object_is_missing(error: BaseException) -> None:
    assert is_withheld(error)
