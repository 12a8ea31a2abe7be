"""The errors that requests are answered with: a status code and a message, as in the OpenAI protocol."""

from vrl.errors import DataError, LostCallError, RolloutError, VrlError, WorkerError

_STATUS_OF_REASON = {"limit": 413, "missing": 404, "path": 403, "timeout": 422, "memory": 422, "crash": 422}


class HttpError(Exception):
    """An error response. `status` is an HTTP status code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def body(self) -> dict[str, dict[str, str]]:
        """Return the JSON body."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "code": str(self.status)}}


def http_error(error: VrlError) -> HttpError:
    """Return the response to a request that failed: below 500 if its clip or question is at fault."""
    if isinstance(error, DataError):
        return HttpError(_STATUS_OF_REASON.get(error.reason, 400), str(error))
    if isinstance(error, RolloutError):
        return HttpError(400, str(error))
    if isinstance(error, LostCallError):
        return HttpError(503, "the question was lost with a worker, which is being replaced; ask again")
    if isinstance(error, WorkerError):
        return HttpError(503, "the server's workers are dead or silent; its log says why")
    return HttpError(500, "the server failed; its log says why")
