"""The OpenAPI description of the service, which its page at /docs shows and its fuzzing goes by."""

from typing import Any

from mentor.serve.entry.door import PATH, Rules
from mentor.serve.wire import ANSWERS, MEDIA

REFUSALS = {
    "400": "the body is no multipart form, or was cut off",
    "401": "no token, or one that is not known",
    "408": "the body did not come in time",
    "409": "the client's bundle, or the mentor that it expects, is another: `bundle` and `mentor` name those here",
    "413": "too many bytes or samples",
    "415": "the body is no multipart/form-data",
    "422": "the samples are not what the bundle's devices send",
    "429": "the device's samples of this minute are used up: see Retry-After",
    "500": "the mentor failed: the service's log says why",
    "503": "too many requests, or no answer in time: see Retry-After",
}
TERMS = {"description": "the bundle and its terms", "content": {"application/json": {"schema": {"type": "object"}}}}
RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}


def description(rules: Rules) -> dict[str, Any]:
    """OpenAPI 3.1."""
    served = rules.served
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mentor",
            "version": "1",
            "description": f"The mentor {served.fingerprint} of bundle {served.bundle}.",
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Refused": {
                    "type": "object",
                    "required": ["detail"],
                    "properties": {name: {"type": "string"} for name in ("detail", "bundle", "mentor")},
                }
            },
        },
        "paths": {
            PATH: {"post": answers(rules)},
            "/health": {"get": plain("whether the mentor can be asked", {"200": "it can", "503": "not yet"})},
            "/info": {"get": {"summary": "what this service answers for", "responses": {"200": TERMS}}},
            "/metrics": {"get": plain("Prometheus' metrics", {"200": "text"})},
        },
    }


def answers(rules: Rules) -> dict[str, Any]:
    served, settings = rules.served, rules.settings
    sizes = ", ".join(map(str, served.shape))
    samples = (
        f"safetensors: `input` {served.dtype} [N, {sizes}], raw samples as the bundle's `preprocessing` has them, N from 1 to "
        f"{settings.max_samples}"
    )
    answer = (
        f"safetensors of format {ANSWERS}: `mentor_logits` float32 [N, {len(served.classes)}], for each probe `mentor_<name>` "
        "float16 in the space it compares in; its metadata have `bundle`, `mentor` and `precision`"
    )
    properties = {
        "samples": {"type": "string", "format": "binary", "contentMediaType": MEDIA, "description": samples},
        "bundle": {"type": "string", "enum": [served.bundle], "description": "id of the client's bundle"},
        "mentor": {
            "type": "string",
            "enum": [served.fingerprint],
            "description": "fingerprint of the mentor that the client expects",
        },
    }
    form = {"type": "object", "required": ["samples", "bundle"], "properties": properties}
    refusals = {status: json(why) for status, why in REFUSALS.items()}
    for status in ("429", "503"):
        refusals[status]["headers"] = RETRY
    return {
        "summary": "the mentor's answers to raw samples",
        "security": [{"token": []}],
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form, "encoding": {"samples": {"contentType": MEDIA}}}},
        },
        "responses": {"200": {"description": answer, "content": {MEDIA: {"schema": {}}}}, **refusals},
    }


def json(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refused"}}},
    }


def plain(summary: str, responses: dict[str, str]) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    found = {status: {"description": about, "content": content} for status, about in responses.items()}
    return {"summary": summary, "responses": found}
