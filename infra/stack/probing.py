"""Find out of each service of the local stack whether it is healthy."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx

from infra.stack.health import TIMEOUT, http_problem, reason_of
from infra.stack.services import Service


def problem_of(service: Service) -> str | None:
    """Return why a service cannot work now; None if it can."""
    if service.name == "postgresql":
        return _database_problem(service)
    if service.name == "s3":
        # It refuses what is not signed: it is there, and it checks.
        return http_problem(f"{service.address}/", 400)
    # What its container is asked, by its own `python`.
    start = next(at for at, word in enumerate(service.check) if word.startswith("http"))
    url, *credentials = service.check[start:]
    return http_problem(url, 200, *(service.environment[name] for name in credentials))


def _database_problem(postgresql: Service) -> str | None:
    """Return why PostgreSQL does not answer a query; None if it does."""
    import psycopg2

    try:
        connection = psycopg2.connect(
            f"{postgresql.address}/postgres",
            user="postgres",
            password=postgresql.environment["POSTGRES_PASSWORD"],
            connect_timeout=int(TIMEOUT),
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        finally:
            connection.close()
    except psycopg2.Error as error:
        return reason_of(error)
    return None


def problems_of(services: Mapping[str, Service]) -> dict[str, str | None]:
    """Return the problem of each service by name, all requested at a time."""
    with ThreadPoolExecutor(len(services)) as threads:
        return dict(zip(services, threads.map(problem_of, services.values()), strict=True))


def champion(serving: Service) -> str:
    """Return in words which model the service predicts with."""
    try:
        response = httpx.get(f"{serving.address}/ready", timeout=TIMEOUT, trust_env=False)
        version = response.json().get("model_version")
    except (httpx.HTTPError, ValueError):
        return ""
    if response.status_code == 200:
        return f"version {version} is in service"
    return "no champion yet" if response.status_code == 503 else ""
