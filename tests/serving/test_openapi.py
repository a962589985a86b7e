"""The description is true: requests that nobody would think of get no status, type or body that is not declared."""

from __future__ import annotations

import pytest
from support.served import film_settings, save_films

pytest.importorskip("fastapi")
schemathesis = pytest.importorskip("schemathesis")
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402

from p5t5.serving.app import app  # noqa: E402

OPERATIONS = [
    "POST /recommend", "POST /similar", "POST /rank", "POST /rate", "POST /explain", "POST /summarize", "POST /query",
    "POST /feedback", "GET /items", "GET /describe", "GET /health/live", "GET /health/ready", "GET /metrics",
    "POST /admin/reload",
]  # fmt: skip
# A title that the catalogue lacks is valid by its form, and refused all the same.
LEFT_OUT = ("positive_data_acceptance",)


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    save_films(root)
    return schemathesis.openapi.from_asgi(
        "/openapi.json", app(film_settings(root, max_text=200, max_k=12, max_history=20), key="")
    )


def test_every_operation_is_described(schema):
    found = [f"{result.ok().method.upper()} {result.ok().path}" for result in schema.get_all_operations()]
    assert sorted(found) == sorted(OPERATIONS)
    for path in ("/recommend", "/rate", "/query"):
        body = schema.raw_schema["paths"][path]["post"]["requestBody"]["content"]["application/json"][
            "schema"
        ]
        assert schema.raw_schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]["examples"]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_nothing_undeclared_comes_back(schema, operation, mode):
    method, _, path = operation.partition(" ")
    described = schema[path][method]
    if mode is GenerationMode.NEGATIVE and not (described.body or described.query):
        pytest.skip("nothing can be wrong in it")
    checks = [schemathesis.checks.CHECKS.get_one(name) for name in LEFT_OUT]

    @given(case=described.as_strategy(generation_mode=mode))
    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    def one(case):
        case.call_and_validate(excluded_checks=checks)

    one()
