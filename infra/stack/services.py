"""The one description of the services, from which the supervisor, `make status` and compose live.

    postgresql ─► databases ─┬─► mlflow
    s3 ──────────► buckets ──┤
                             └─► prefect ─► deployments ─► worker
    keys ────────► serving

What stands between services is a step: a command that ends, and that changes nothing the second
time. No command line carries a secret, because everybody on a machine can read those.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from infra.stack.settings import CHECKOUT, read_env

#: The databases of PostgreSQL, each with an owner of its name.
DATABASES = ("mlflow", "prefect")

#: What MLflow keeps of runs, what DVC keeps of data and models, what the service keeps of answers.
BUCKETS = ("mlflow", "dvc", "answers")

#: The work pool that prefect.yaml deploys to.
POOL = "cracks"

#: Who opens MLflow and Prefect, and whose key opens the service.
ADMIN = "admin"

#: Where the service keeps its record of answers.
ANSWERS = "s3://answers"


@dataclass(frozen=True)
class StackSite:
    """Where a stack runs: all that differs between processes of one machine and containers."""

    #: The address that services listen on.
    listen: str
    #: The name by which a service is reached, and its port: a number, or a variable of compose.
    hosts: Mapping[str, str]
    ports: Mapping[str, int | str]
    #: By the names in `settings.SECRETS`.
    secrets: Mapping[str, str]
    #: Paths of postgres, rclone, mlflow, prefect, cracks, python.
    programs: Mapping[str, str]
    #: Paths of checkout, workspace, databases, storage, service, prefect, and of sockets.
    folders: Mapping[str, str]

    def url(self, service: str) -> str:
        """Return the address at which others reach a service."""
        return f"http://{self.hosts[service]}:{self.ports[service]}"


@dataclass(frozen=True)
class Probe:
    """A request that a healthy service answers with this status."""

    path: str
    status: int = 200
    #: Variables of the service's environment with the user and the password, if it wants them.
    credentials: tuple[str, str] | None = None


@dataclass(frozen=True)
class Service:
    """A process that runs as long as the stack does."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    #: None: it speaks PostgreSQL.
    probe: Probe | None
    #: Where a person or a client opens it.
    address: str
    #: Services that must be healthy, and steps that must be done, before it starts.
    needs: tuple[str, ...] = ()
    #: The folders (names in `Site.folders`) that hold what must outlive it.
    keeps: tuple[str, ...] = ()
    #: How it is asked to end, and the seconds that it has to do so.
    stop_signal: str = "TERM"
    stop_seconds: int = 20
    #: Seconds that a first start may take on a slow machine.
    start_seconds: int = 120
    #: Whether its children are told to end too; those of PostgreSQL are its own business.
    ends_as_group: bool = True


@dataclass(frozen=True)
class Step:
    """A command between two services, done at each start; it changes nothing the second time."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    #: As of a service.
    keeps: tuple[str, ...] = ()


def services(site: StackSite) -> dict[str, Service]:
    """Return the services by name, in the order in which they start."""
    described = (
        _postgresql(site),
        _s3(site),
        _mlflow(site),
        _prefect(site),
        _worker(site),
        _serving(site),
    )
    return {service.name: service for service in described}


def steps(site: StackSite) -> dict[str, Step]:
    """Return the steps by name, in the order in which they are done."""
    python = site.programs["python"]

    def step(name: str, environment: dict[str, str], needs: tuple[str, ...] = ()) -> Step:
        return Step(name, (python, "-m", "infra.stack.prepare", name), environment, needs)

    passwords = {f"{name.upper()}_DB_PASSWORD": _password(site, name) for name in DATABASES}
    superuser = _database(site, "postgres") | {
        "PGPASSWORD": site.secrets["CRACKS_POSTGRES_PASSWORD"]
    }
    described = (
        step("databases", superuser | passwords, ("postgresql",)),
        step("buckets", _storage(site), ("s3",)),
        Step(
            "deployments",
            (python, "-m", "infra.deployment"),
            # What a link in a notification leads to, for the browser of a person.
            _prefect_client(site) | {"PREFECT_UI_URL": _for_browsers(site, "prefect")},
            ("prefect",),
        ),
        replace(step("keys", _service_folder(site) | _service_key(site)), keeps=("service",)),
    )
    return {one.name: one for one in described}


def parts_for(site: StackSite, names: Collection[str]) -> dict[str, Service | Step]:
    """Return the named services, what they need, and the steps that need nothing beyond these.

    Args:
        site: where the stack runs.
        names: of services; none means all.
    """
    known: dict[str, Service | Step] = {**services(site), **steps(site)}
    if not names:
        return known
    chosen: set[str] = set()
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name not in chosen:
            chosen.add(name)
            wanted.extend(known[name].needs)
    chosen |= {name for name, step in steps(site).items() if step.needs and chosen >= {*step.needs}}
    return {name: part for name, part in known.items() if name in chosen}


def client_environment(site: StackSite) -> dict[str, str]:
    """Return what a person's shell needs to use the stack: `cracks`, dvc, curl, all tools."""
    return {
        **_tools_environment(site),
        "CRACKS_SERVICE_URL": site.url("serving"),
        **_service_key(site),
    }


def _tools_environment(site: StackSite) -> dict[str, str]:
    """Return what the tools need to find the servers; the worker trains with it."""
    return {
        "MLFLOW_TRACKING_URI": site.url("mlflow"),
        "MLFLOW_TRACKING_USERNAME": ADMIN,
        "MLFLOW_TRACKING_PASSWORD": site.secrets["CRACKS_MLFLOW_PASSWORD"],
        **_prefect_client(site),
        **_storage(site),
        **_service_folder(site),
        "CRACKS_SERVE_ANSWERS": ANSWERS,
    }


# --- the services ---------------------------------------------------------------------------------


def _postgresql(site: StackSite) -> Service:
    settings = {
        "listen_addresses": site.listen,
        "unix_socket_directories": site.folders["sockets"],
        "password_encryption": "scram-sha-256",
        # A standard stack of one machine has some 40 connections: Prefect's pool takes most.
        "max_connections": "100",
    }
    return Service(
        name="postgresql",
        command=(
            *(site.programs["postgres"], "-D", site.folders["databases"]),
            *("-p", str(site.ports["postgresql"])),
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
        ),
        environment={},
        probe=None,
        address=f"postgresql://{site.hosts['postgresql']}:{site.ports['postgresql']}",
        keeps=("databases",),
        stop_signal="INT",  # the fast way to end it: it waits for no client
        ends_as_group=False,
    )


def _s3(site: StackSite) -> Service:
    # What is not in the environment is read from no file; others may lay files into the folder.
    settings = ("--config", "", "--dir-cache-time", "1s", "--poll-interval", "0", "--no-cleanup")
    key, secret = site.secrets["CRACKS_S3_KEY_ID"], site.secrets["CRACKS_S3_SECRET_KEY"]
    return Service(
        name="s3",
        command=(
            *(site.programs["rclone"], "serve", "s3", *settings),
            *("--addr", f"{site.listen}:{site.ports['s3']}", site.folders["storage"]),
        ),
        # The value is a row of CSV: the comma is part of one cell.
        environment={"RCLONE_AUTH_KEY": f'"{key},{secret}"'},
        # It refuses what is not signed: it is there, and it checks.
        probe=Probe("/", status=400),
        address=site.url("s3"),
        keeps=("storage",),
    )


def _mlflow(site: StackSite) -> Service:
    port, host = site.ports["mlflow"], site.hosts["mlflow"]
    return Service(
        name="mlflow",
        command=(
            *(site.programs["mlflow"], "server", "--app-name", "basic-auth", "--workers", "1"),
            *("--host", site.listen, "--port", str(port)),
            *("--artifacts-destination", "s3://mlflow/artifacts"),
        ),
        environment={
            **_mlflow_settings(),
            **_database(site, "mlflow"),
            **_storage(site),
            "MLFLOW_S3_ENDPOINT_URL": site.url("s3"),
            # Host, user and password are those that libpq reads from the environment.
            "MLFLOW_BACKEND_STORE_URI": "postgresql:///mlflow",
            "MLFLOW_AUTH_CONFIG_PATH": f"{site.folders['checkout']}/mlflow/basic_auth.ini",
            "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
            "MLFLOW_AUTH_ADMIN_PASSWORD": site.secrets["CRACKS_MLFLOW_PASSWORD"],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": site.secrets["CRACKS_MLFLOW_SECRET_KEY"],
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": site.secrets["CRACKS_MLFLOW_WEBHOOK_KEY"],
            # Any other name in the header Host is refused, so no foreign page can reach it.
            "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(
                dict.fromkeys(f"{name}:{port}" for name in (host, "127.0.0.1", "localhost"))
            ),
        },
        # Not /health, which answers without the database, and whatever the header Host says.
        probe=Probe(
            "/api/2.0/mlflow/experiments/get?experiment_id=0",
            credentials=("MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD"),
        ),
        address=site.url("mlflow"),
        needs=("postgresql", "databases", "s3", "buckets"),
        start_seconds=300,
    )


def _prefect(site: StackSite) -> Service:
    return Service(
        name="prefect",
        command=(
            *(site.programs["prefect"], "server", "start"),
            *("--host", site.listen, "--port", str(site.ports["prefect"])),
        ),
        environment={
            "PREFECT_HOME": f"{site.folders['prefect']}/server",
            "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
            "PREFECT_SERVER_DATABASE_HOST": site.hosts["postgresql"],
            "PREFECT_SERVER_DATABASE_PORT": str(site.ports["postgresql"]),
            "PREFECT_SERVER_DATABASE_USER": "prefect",
            "PREFECT_SERVER_DATABASE_NAME": "prefect",
            "PREFECT_SERVER_DATABASE_PASSWORD": _password(site, "prefect"),
            # A training takes every core: 5 s for a connection and 10 s for a statement are short.
            "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "30",
            "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
            "PREFECT_SERVER_API_AUTH_STRING": f"{ADMIN}:{site.secrets['CRACKS_PREFECT_PASSWORD']}",
            "PREFECT_UI_API_URL": f"{_for_browsers(site, 'prefect')}/api",
            # In memory, where it is by default, a restart of the server would forget who holds the
            # slot of the trainings, and end the one that does.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                "prefect.server.concurrency.lease_storage.filesystem"
            ),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "true",
        },
        # Unlike /health this asks the database.
        probe=Probe("/api/ready"),
        address=site.url("prefect"),
        needs=("postgresql", "databases"),
        keeps=("prefect",),
        start_seconds=300,
    )


def _worker(site: StackSite) -> Service:
    return Service(
        name="worker",
        command=(
            *(site.programs["prefect"], "worker", "start", "--pool", POOL, "--type", "process"),
            "--with-healthcheck",
        ),
        environment={
            **_tools_environment(site),
            "PREFECT_HOME": f"{site.folders['prefect']}/worker",
            "PREFECT_WORKER_WEBSERVER_HOST": site.listen,
            "PREFECT_WORKER_WEBSERVER_PORT": str(site.ports["worker"]),
        },
        # It says 503 where it has not asked the server for work for a while.
        probe=Probe("/health"),
        address=site.url("worker"),
        needs=("prefect", "deployments", "mlflow", "s3"),
        keeps=("prefect", "service"),
        # A training that it has begun is told to end, and tells the server so.
        stop_seconds=45,
    )


def _serving(site: StackSite) -> Service:
    return Service(
        name="serving",
        command=(
            *(site.programs["cracks"], "-C", site.folders["workspace"], "serve"),
            *("--host", site.listen, "--port", str(site.ports["serving"])),
        ),
        environment={
            **_service_folder(site),
            **_storage(site),
            "CRACKS_SERVE_ANSWERS": ANSWERS,
            "CRACKS_SERVE_MLFLOW_URL": _for_browsers(site, "mlflow"),
            "CRACKS_SERVE_PREFECT_URL": _for_browsers(site, "prefect"),
        },
        # Not /ready, which says no until there is a champion.
        probe=Probe("/health"),
        address=site.url("serving"),
        # Not S3: it answers without, and its record waits on the disk until there is one.
        needs=("keys",),
        keeps=("service",),
    )


# --- what several of them share -------------------------------------------------------------------


def _for_browsers(site: StackSite, service: str) -> str:
    """Return where the browser of a person finds a service, which is never inside a container."""
    return f"http://127.0.0.1:{site.ports[service]}"


def _password(site: StackSite, database: str) -> str:
    return site.secrets[f"CRACKS_{database.upper()}_DB_PASSWORD"]


def _database(site: StackSite, name: str) -> dict[str, str]:
    """Return what libpq reads of a database of ours, or of the superuser's."""
    given = {
        "PGHOST": site.hosts["postgresql"],
        "PGPORT": str(site.ports["postgresql"]),
        "PGUSER": name,
        "PGDATABASE": name,
    }
    return given | ({"PGPASSWORD": _password(site, name)} if name in DATABASES else {})


def _storage(site: StackSite) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": site.url("s3"),
        "AWS_ACCESS_KEY_ID": site.secrets["CRACKS_S3_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": site.secrets["CRACKS_S3_SECRET_KEY"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        # rclone does not know the checksums that clients add by themselves.
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }


def _service_folder(site: StackSite) -> dict[str, str]:
    return {"CRACKS_SERVICE_DIR": site.folders["service"]}


def _service_key(site: StackSite) -> dict[str, str]:
    return {"CRACKS_SERVICE_KEY": site.secrets["CRACKS_SERVICE_KEY"]}


def _prefect_client(site: StackSite) -> dict[str, str]:
    return {
        "PREFECT_API_URL": f"{site.url('prefect')}/api",
        "PREFECT_API_AUTH_STRING": f"{ADMIN}:{site.secrets['CRACKS_PREFECT_PASSWORD']}",
    }


def _mlflow_settings() -> dict[str, str]:
    """Return what mlflow/server.env says, whoever starts the server."""
    return read_env(CHECKOUT / "mlflow/server.env")
