"""Tell of each service of the local stack whether it is healthy."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from infra.stack.health import TIMEOUT, database_problem, http_problem
from infra.stack.services import Service, StackSite


def problem_of(service: Service, site: StackSite) -> str | None:
    """Return why a service cannot work now; None if it can."""
    if service.probe is None:
        where = {"PGHOST": site.hosts[service.name], "PGPORT": str(site.ports[service.name])}
        return database_problem(where, "postgres", site.secrets["CRACKS_POSTGRES_PASSWORD"])
    credentials = [service.environment[name] for name in service.probe.credentials or ()]
    url = f"{site.url(service.name)}{service.probe.path}"
    return http_problem(url, service.probe.status, *credentials)


def problems_of(services: Mapping[str, Service], site: StackSite) -> dict[str, str | None]:
    """Return the problem of each service by name, all asked at a time."""
    with ThreadPoolExecutor(len(services)) as threads:
        found = threads.map(lambda service: problem_of(service, site), services.values())
        return dict(zip(services, found, strict=True))


def champion(site: StackSite) -> str:
    """Return in words which model the service answers with."""
    connection = http.client.HTTPConnection(
        site.hosts["serving"], int(site.ports["serving"]), timeout=TIMEOUT
    )
    try:
        connection.request("GET", "/ready")
        answer = connection.getresponse()
        said = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError):
        return ""
    finally:
        connection.close()
    if answer.status == 200:
        return f"version {said.get('model_version')} answers"
    return "no champion yet" if answer.status == 503 else ""
