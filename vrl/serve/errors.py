"""Why a request is refused: a status code and a message, as in the OpenAI protocol."""

from vrl.errors import DataError, LostCallError, RolloutError, VrlError, WorkerError

_STATUS_OF_REASON = {"limit": 413, "missing": 404, "path": 403, "timeout": 422, "memory": 422, "crash": 422}


class Refusal(Exception):
    """A request that is answered with an error. `status` is an HTTP status code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


def refusal_of(error: VrlError) -> Refusal:
    """The answer to a request that failed: the client's fault where its clip or question cannot be used."""
    if isinstance(error, DataError):
        return Refusal(_STATUS_OF_REASON.get(error.reason, 400), str(error))
    if isinstance(error, RolloutError):
        return Refusal(400, str(error))
    if isinstance(error, LostCallError):
        return Refusal(503, "the question was lost with a worker, which is being replaced; ask again")
    if isinstance(error, WorkerError):
        return Refusal(503, "the server's workers are dead or silent; its log says why")
    return Refusal(500, "the server failed; its log says why")


def as_body(refusal: Refusal) -> dict[str, dict[str, str]]:
    """The JSON body of a refusal."""
    kind = "invalid_request_error" if refusal.status < 500 else "server_error"
    return {"error": {"message": refusal.message, "type": kind, "code": str(refusal.status)}}
