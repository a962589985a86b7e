"""``app(settings)``: the service as an ASGI app, for any server that takes one."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route

from p5t5._version import __version__
from p5t5.core.errors import UserError
from p5t5.serving import schemas
from p5t5.serving.batching import Refused
from p5t5.serving.guard import LOG, BodyError, Guard
from p5t5.serving.loading import settle_memory
from p5t5.serving.metrics import Metrics
from p5t5.serving.operations import PLANS
from p5t5.serving.service import Service
from p5t5.serving.settings import Settings

KEY_VARIABLE = "P5T5_API_KEY"
PROBLEMS = {
    400: "The body is no JSON",
    401: "The API key is missing or wrong",
    408: "The body came too slowly",
    413: "The body is too large",
    422: "The request is not understood: the error says what, and what to do",
    429: "Too many wait: come again after Retry-After seconds",
    500: "A bug: the log of the service has it under the request's id",
    503: "The service is stopping",
    504: "The request waited too long",
    507: "The disk is full: nothing was taken down",
}


def app(settings: Settings, key: str | None = None) -> FastAPI:
    """The service as an ASGI app; the checkpoint is read here.

    ``key``: the API key; by default that of ``settings.api_key_file`` or of the environment's P5T5_API_KEY.
    Raises UserError where there is no whole checkpoint, or no key in the file.
    """
    key = api_key(settings) if key is None else key
    metrics = Metrics()
    service = Service(settings, metrics.batch)
    metrics.watch(lambda: service.batcher.waiting)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        service.open()
        yield
        await asyncio.to_thread(service.close)

    made = FastAPI(
        title="p5t5",
        version=__version__,
        description="Recommendations, ratings and texts from one T5.",
        lifespan=life,
        docs_url=None,  # the pages of FastAPI load scripts from elsewhere
        redoc_url=None,
    )

    def refusal(path: str, under_way: int = 0) -> Refused | None:
        return service.batcher.refusal(under_way) if path[1:] in PLANS else None

    made.state.service, made.state.metrics, made.state.refusal = service, metrics, refusal
    models = schemas.request_models(settings)
    for operation, model in models.items():
        _add_operation(made, service, operation, model)
    _add_catalogue(made, service, settings)
    _add_health(made, service, metrics)
    _add_reload(made, service, metrics, key)
    _add_problems(made)
    _describe(made, models, bool(key))
    if settings.ui:
        _add_page(made, service)
    made.add_middleware(
        Guard,
        key=key,
        most_bytes=settings.max_body_kb * 1024,
        body_seconds=settings.body_seconds,
        metrics=metrics,
        operations=frozenset(getattr(route, "path", "") for route in made.routes),
        refusal=refusal,
    )
    return made


def api_key(settings: Settings) -> str:
    """The key, "" where there is none. UserError for a file that holds none."""
    if not settings.api_key_file:
        return os.environ.get(KEY_VARIABLE, "").strip()
    try:
        key = Path(settings.api_key_file).expanduser().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"api_key_file {settings.api_key_file}: it could not be read ({error}).") from error
    if not key:
        raise UserError(f"api_key_file {settings.api_key_file} is empty: put a key in it.")
    return key


def _add_operation(made: FastAPI, service: Service, operation: str, model: type[BaseModel]) -> None:
    async def answer(request: Request) -> Response:
        given = await _body(request, model)
        if operation not in PLANS:
            return _json(await asyncio.to_thread(getattr(service, operation), **given))
        waiting = service.submit(operation, given)
        return _json(await asyncio.wrap_future(waiting))

    # FastAPI's route describes it, Starlette's answers: nothing is injected, and it takes half the time.
    made.router.routes.append(Route(f"/{operation}", answer, methods=["POST"], include_in_schema=False))
    problems = (507,) if operation == "feedback" else (429, 504)
    made.add_api_route(
        f"/{operation}",
        answer,
        methods=["POST"],
        summary=schemas.SUMMARIES[operation],
        operation_id=operation,
        response_model=None,
        responses=_responses(schemas.ANSWERS[operation], 400, 408, 413, 422, 500, 503, *problems),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
                },
            }
        },
    )


def _add_catalogue(made: FastAPI, service: Service, settings: Settings) -> None:
    usual = min(20, settings.max_k)

    async def items(request: Request) -> Response:
        unknown = set(request.query_params) - {"search", "k"}
        search, k = request.query_params.get("search", ""), request.query_params.get("k", str(usual))
        twice = len(request.query_params.multi_items()) > len(request.query_params)
        if unknown or twice:
            raise UserError("items: give search=TEXT and k=NUMBER, each at most once, and nothing else.")
        if len(search) > settings.max_text:
            raise UserError(f"search: give at most {settings.max_text} characters.")
        if not (k.isascii() and k.isdigit() and len(k) < 9 and 1 <= int(k) <= settings.max_k):
            raise UserError(f"k must be a whole number from 1 to {settings.max_k}.")
        return _json(await asyncio.to_thread(service.items, search, int(k)))

    async def about() -> Response:
        return _json(await asyncio.to_thread(service.describe))

    parameters = [
        {
            "name": "search",
            "in": "query",
            "description": "begins, is part of, or resembles a title",
            "schema": {"type": "string", "maxLength": settings.max_text, "default": ""},
            "example": "alien",
        },
        {
            "name": "k",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": settings.max_k, "default": usual},
        },
    ]
    made.add_api_route(
        "/items",
        items,
        summary="Search the catalogue",
        operation_id="items",
        response_model=None,
        responses=_responses(schemas.ItemsAnswer, 422, 500),
        openapi_extra={"parameters": parameters},
    )
    made.add_api_route(
        "/describe",
        about,
        summary="The model, its scale, attributes, tasks and limits",
        operation_id="describe",
        response_model=None,
        responses=_responses(schemas.Description, 500),
    )


def _add_health(made: FastAPI, service: Service, metrics: Metrics) -> None:
    async def live() -> Response:
        return _json({"status": "alive", "checkpoint": service.loaded.digest})

    async def ready() -> Response:
        status = "ready" if service.ready else "stopping"
        return _json({"status": status, "checkpoint": service.loaded.digest}, 200 if service.ready else 503)

    async def counted() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    for path, answer, summary in (
        ("/health/live", live, "Whether the process is alive"),
        ("/health/ready", ready, "Whether requests are answered"),
    ):
        responses = _responses(schemas.Health, 500)
        responses[503] = {"model": schemas.Health, "description": "Not, or no more"}
        made.add_api_route(path, answer, summary=summary, response_model=None, responses=responses)
    made.add_api_route(
        "/metrics",
        counted,
        summary="Counters for Prometheus",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Counters"}
        },
    )


def _add_reload(made: FastAPI, service: Service, metrics: Metrics, key: str) -> None:
    async def reload() -> Response:
        if not key:
            raise HTTPException(403, "reload needs an API key: set one, or send SIGHUP to the process.")
        return _json(await asyncio.to_thread(reloaded, service, metrics))

    responses = _responses(schemas.Reloaded, 401, 422, 500)
    responses[403] = {"model": schemas.Problem, "description": "The service has no API key"}
    made.add_api_route(
        "/admin/reload",
        reload,
        methods=["POST"],
        summary="Read the configured checkpoint again",
        operation_id="reload",
        response_model=None,
        responses=responses,
    )


def reloaded(service: Service, metrics: Metrics) -> dict[str, Any]:
    """`Service.reload`, counted and logged."""
    try:
        said = service.reload()
    except UserError as error:
        metrics.reloads.labels("refused").inc()
        LOG.error(json.dumps({"reload": "refused", "error": str(error), "checkpoint": service.loaded.digest}))
        raise
    settle_memory()
    metrics.reloads.labels("done").inc()
    LOG.info(json.dumps({"reload": "done", **said}))
    return said


def _add_page(made: FastAPI, service: Service) -> None:
    try:
        import gradio
    except ImportError as error:
        raise UserError('the page needs Gradio: pip install "p5t5[ui]".') from error
    page = importlib.import_module("p5t5.serving.page")
    gradio.mount_gradio_app(made, page.page(service), path="/ui", **page.look())
    made.add_api_route("/", lambda: RedirectResponse("/ui"), include_in_schema=False)


def _add_problems(made: FastAPI) -> None:
    async def mistaken(request: Request, error: Exception) -> Response:
        return _problem(request, 422, str(error), "Correct the request and send it again.")

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        headers = {name.decode(): value.decode() for name, value in error.headers}
        return _problem(request, error.status, str(error), error.remedy, headers)

    async def cut(request: Request, error: Exception) -> Response:
        assert isinstance(error, BodyError)
        return _problem(request, error.status, error.error, error.remedy, {"Connection": "close"})

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        remedy = "See /openapi.json for what there is." if error.status_code in (404, 405) else ""
        return _problem(request, error.status_code, str(error.detail), remedy, dict(error.headers or {}))

    made.add_exception_handler(UserError, mistaken)
    made.add_exception_handler(Refused, refused)
    made.add_exception_handler(BodyError, cut)
    made.add_exception_handler(HTTPException, http)
    made.add_exception_handler(RequestValidationError, mistaken)


def _describe(made: FastAPI, models: dict[str, type[BaseModel]], locked: bool) -> None:
    """Makes the OpenAPI description hold the bodies, which are read by hand, and the key."""
    usual: Callable[[], dict[str, Any]] = made.openapi

    def openapi() -> dict[str, Any]:
        if made.openapi_schema:
            return made.openapi_schema
        said = usual()
        known = said.setdefault("components", {}).setdefault("schemas", {})
        for model in models.values():
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            known.update(schema.pop("$defs", {}))
            known[model.__name__] = schema
        if locked:
            said["components"]["securitySchemes"] = {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}
            }
            for path, methods in said["paths"].items():
                for described in methods.values() if not path.startswith("/health/") else ():
                    described["security"] = [{"key": []}]
                    described["responses"].setdefault("401", described["responses"].get("500", {}))
        return said

    made.openapi = openapi  # type: ignore[method-assign]


async def _body(request: Request, model: type[BaseModel]) -> dict[str, Any]:
    """The checked body as keyword arguments. UserError that names the field."""
    # Trap: a browser sends any other content type, or none, from any page to any address without asking first.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UserError(
            f"the content type is {kind[:100] or 'missing'}: send JSON, with the header Content-Type: application/json."
        )
    body = await request.body()
    try:
        return model.model_validate_json(body).model_dump()
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise HTTPException(400, f"the body is no JSON: {first['msg']}") from error
        where = ".".join(str(place) for place in first["loc"][:4] if len(str(place)) < 60) or "body"
        raise UserError(f"{where}: {first['msg']}") from error


def _json(plain: Any, status: int = 200) -> Response:
    return Response(
        json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
            "utf-8", "replace"
        ),
        status,
        media_type="application/json",
    )


def _problem(
    request: Request, status: int, error: str, remedy: str, headers: dict[str, str] | None = None
) -> Response:
    said = {"error": error, "remedy": remedy, "request_id": request.state.request_id}
    response = _json(said, status)
    response.headers.update(headers or {})
    return response


def _responses(model: type[BaseModel], *problems: int) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"model": model},
        **{status: {"model": schemas.Problem, "description": PROBLEMS[status]} for status in problems},
    }
