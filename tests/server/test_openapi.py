"""What the OpenAPI document says holds for whatever is sent: schemathesis makes the calls."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from server.conftest import Serving

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
CALLS = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
def test_no_call_breaks_the_service_and_answers_are_as_described(serving: Serving) -> None:
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", serving.client.app)
    called = set()

    def check(case: schemathesis.Case) -> None:
        role = "intake" if case.path.startswith(("/v2", "/fides")) else "approver"
        answer = case.call(headers=serving.as_(role))
        case.validate_response(answer, checks=CHECKS)
        called.add((case.method, case.path))

    for found in schema.get_all_operations():
        CALLS(given(found.ok().as_strategy())(check))()
    assert len(called) >= 18
