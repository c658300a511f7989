"""The parts of a multipart body."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from mentor.serve.refused import Refused

FIELD = 4096  # bytes of a part that is no file


@dataclass(frozen=True)
class Form:
    """`samples`: a safetensors file. `bundle`: the id of the client's bundle. `mentor`: the fingerprint that it expects."""

    samples: bytes
    bundle: str
    mentor: str | None


class InMemory(MultiPartParser):
    spool_max_size = 1 << 62  # the door has bounded the body


async def read_form(headers: Headers, body: bytes) -> Form:
    """Raises `Refused` for a body that is no whole form, or lacks a part."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    try:
        form = await InMemory(headers, stream(), max_files=1, max_fields=2, max_part_size=FIELD).parse()
    except (MultiPartException, FormParserError, ValueError, LookupError) as error:
        raise Refused(400, f"the body is no multipart form ({str(error)[:200]})") from None
    try:
        samples, bundle, mentor = form.get("samples"), form.get("bundle"), form.get("mentor")
        if not isinstance(samples, UploadFile):
            raise Refused(400, "the body lacks the file `samples`, or was cut off before its end")
        if not isinstance(bundle, str) or not (mentor is None or isinstance(mentor, str)):
            raise Refused(400, "the body lacks the field `bundle`, or `mentor` is a file")
        return Form(await samples.read(), bundle, mentor or None)
    finally:
        await form.close()
