"""What a client wraps around its requests, taken off: layer, introduction, order, packing.

Source: https://core.telegram.org/api/invoking
"""

from dataclasses import dataclass, field
from typing import Any, Final

from sandbox import tl
from sandbox.telegram.errors import RpcError

_functions = tl.functions
_SILENT_WRAPPERS: Final = (
    _functions.InvokeWithTakeoutRequest,
    _functions.InvokeWithMessagesRangeRequest,
    _functions.InvokeWithBusinessConnectionRequest,
    _functions.InvokeWithApnsSecretRequest,
    _functions.InvokeWithGooglePlayIntegrityRequest,
    _functions.InvokeWithReCaptchaRequest,
)


@dataclass(slots=True)
class Invocation:
    """A request without its wrappers, and what they said."""

    request: Any
    layer: int = 0
    introduction: Any = None
    without_updates: bool = False
    after: list[int] = field(default_factory=list)

    @property
    def is_set_up(self) -> bool:
        """Whether this belongs to opening a connection, which pacing leaves out."""
        is_introduction = self.introduction is not None
        name = tl.method_name(self.request)
        return is_introduction or name == "help.getConfig" or name.startswith("updates.")


def unwrap(body: bytes) -> Invocation:
    """Parse a serialized request and take its wrappers off.

    Raises:
        RpcError: it does not parse, or what is inside is no request.
    """
    found = Invocation(_read(body))
    while True:
        inner = found.request
        match inner:
            case _functions.InvokeWithLayerRequest():
                found.layer = inner.layer
            case _functions.InitConnectionRequest():
                found.introduction = inner
            case _functions.InvokeWithoutUpdatesRequest():
                found.without_updates = True
            case _functions.InvokeAfterMsgRequest():
                found.after.append(inner.msg_id)
            case _functions.InvokeAfterMsgsRequest():
                found.after.extend(inner.msg_ids)
            case tl.GzipPacked():  # TDLib packs what it wraps, where others pack the whole
                found.request = _read(inner.data)
                continue
            case tl.TLRequest() if not isinstance(inner, _SILENT_WRAPPERS):
                return found
            case tl.TLRequest():
                pass
            case _:
                raise RpcError("INPUT_REQUEST_INVALID")
        found.request = inner.query


def _read(body: bytes) -> Any:
    try:
        return tl.read(body)
    except tl.UnknownConstructorError as exc:
        kind = "METHOD" if exc.outermost else "CONSTRUCTOR"
        raise RpcError(f"INPUT_{kind}_INVALID_{exc.constructor}_0") from exc
    except tl.MalformedTLError as exc:
        raise RpcError("INPUT_FETCH_ERROR") from exc
