"""Write infra/compose.yaml: the stack of `services` in containers, one a service and one a step.

What is here is only what containers need beyond the description: images, limits, networks, volumes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

from cracks.system.atomic_files import atomic_replace
from infra.stack.services import Service, StackSite, Step, services, steps
from infra.stack.settings import CHECKOUT, PORTS, SECRETS, port_variable

FILE = CHECKOUT / "infra/compose.yaml"

HEADER = """\
# The stack in containers. Written by `make compose` from infra/stack/; do not edit it here.
#
#   make secrets
#   docker compose --env-file .stack/secrets.env -f infra/compose.yaml up --build --detach --wait
#
# Ports are published on 127.0.0.1 only; CRACKS_MLFLOW_PORT and the like choose others.
"""

#: Images that others publish. Debian 12, on which all is tested, has this PostgreSQL.
POSTGRESQL_IMAGE = "docker.io/library/postgres:15.10-bookworm"

#: How the names of our own images begin.
OURS = "concrete-crack-mlops/"

#: The user of our own images, and that of the image of PostgreSQL.
USER, POSTGRESQL_USER = "10001:10001", "999:999"

#: Where the code lies in our images, and the check that those have.
CODE = "/opt/cracks"
CHECK = ("python", f"{CODE}/infra/stack/health.py")

#: Seconds between two checks, and how many failures in a row make a container unhealthy.
CHECK_INTERVAL, CHECK_RETRIES = 10, 6


@dataclass(frozen=True)
class Container:
    """What a container needs beyond the description of its service or step."""

    image: str
    #: Processors and memory that it may use.
    processors: float
    memory: str
    networks: tuple[str, ...]
    user: str = USER
    #: Folders in memory; all else that is no volume is read-only.
    scratch: tuple[str, ...] = ("/tmp",)
    #: Volumes that the description does not know, by name, with their places.
    volumes: Mapping[str, str] | None = None
    environment: Mapping[str, str] | None = None
    entrypoint: tuple[str, ...] | None = None
    #: What its container file is built with.
    arguments: Mapping[str, str] | None = None

    @property
    def file(self) -> str | None:
        """The container file that makes the image; None: others publish it."""
        if not self.image.startswith(OURS):
            return None
        return f"{self.image.removeprefix(OURS).partition(':')[0]}.Containerfile"


#: `data` and `answers` lead nowhere else; the worker needs the world to clone and to download. Who
#: answers strangers reaches nothing of the stack but the storage of its record.
DATA, CONTROL, ANSWERS, FRONT = "data", "control", "answers", "front"


def containers(version: str) -> dict[str, Container]:
    """Return the container of each service and step, with our images of this version."""

    def ours(name: str) -> str:
        return f"{OURS}{name}:{version}"

    step = Container(image=ours("worker"), processors=0.5, memory="512m", networks=(DATA, CONTROL))
    return {
        "postgresql": Container(
            image=POSTGRESQL_IMAGE,
            processors=1,
            memory="1g",
            networks=(DATA,),
            user=POSTGRESQL_USER,
            scratch=("/tmp", "/var/run/postgresql:uid=999,gid=999,mode=0775"),
            environment={
                "PGDATA": FOLDERS["databases"],
                "POSTGRES_PASSWORD": secret("CRACKS_POSTGRES_PASSWORD"),
                "POSTGRES_INITDB_ARGS": "--auth=scram-sha-256 --encoding=UTF8 --no-locale",
            },
        ),
        "s3": Container(
            image=ours("s3"),
            processors=1,
            memory="512m",
            networks=(DATA, CONTROL, ANSWERS),
            entrypoint=(),
        ),
        "mlflow": Container(
            image=ours("mlflow"), processors=1, memory="1500m", networks=(DATA, CONTROL)
        ),
        "prefect": Container(
            image=ours("worker"), processors=1, memory="1500m", networks=(DATA, CONTROL)
        ),
        "worker": Container(
            image=ours("worker"),
            processors=4,
            memory="8g",
            networks=(DATA, CONTROL),
            volumes={"workspaces": "/srv/workspaces"},
            environment=passed_on("CRACKS_GIT_", "URL", "BRANCH", "TOKEN", "USER"),
        ),
        "serving": Container(
            image=ours("serving"),
            processors=2,
            memory="1g",
            networks=(FRONT, ANSWERS),
            # Its record of answers goes to S3.
            arguments={"GROUPS": "--group serving --group serving-s3"},
        ),
        "databases": step,
        "buckets": step,
        "deployments": replace(
            step,
            environment=passed_on("CRACKS_NOTIFY_", "WEBHOOK_URL", "SLACK_URL", "MAIL_URL"),
        ),
        "keys": replace(step, networks=(DATA,)),
    }


#: Where volumes are mounted, and where the code lies.
FOLDERS = {
    "checkout": CODE,
    "workspace": "/srv/cracks",
    "databases": "/var/lib/postgresql/data",
    "storage": "/srv/s3",
    "service": "/srv/cracks/service",
    "prefect": "/srv/prefect",
    "sockets": "/var/run/postgresql",
}

#: Services that a person or a tool of this machine opens.
PUBLISHED = ("s3", "mlflow", "prefect", "serving")


def secret(name: str) -> str:
    """Return the variable that compose puts in; without a value it refuses to start."""
    return f"${{{name}:?run make secrets}}"


def passed_on(begin: str, *ends: str) -> dict[str, str]:
    """Return variables that compose passes on as they are, empty without a value."""
    return {f"{begin}{end}": f"${{{begin}{end}:-}}" for end in ends}


def container_site() -> StackSite:
    """Return where the stack in containers runs: each service is a host of its own name."""
    return StackSite(
        listen="0.0.0.0",
        hosts={name: name for name in PORTS},
        ports={name: f"${{{port_variable(name)}:-{port}}}" for name, port in PORTS.items()},
        secrets={name: secret(name) for name in SECRETS},
        programs={
            name: name for name in ("postgres", "rclone", "mlflow", "prefect", "cracks", "python")
        },
        folders=FOLDERS,
    )


def composed() -> dict[str, Any]:
    """Return the whole content of compose.yaml."""
    site = container_site()
    known, between = services(site), steps(site)
    boxes = containers(_version())
    parts = {name: _service(site, known[name], boxes[name], between) for name in known}
    parts |= {name: _step(between[name], boxes[name], between) for name in between}
    volumes = {name for part in parts.values() for name in _names_of_volumes(part)}
    return {
        "name": "concrete-crack-mlops",
        "services": parts,
        "networks": {
            DATA: {"internal": True},
            CONTROL: {},
            ANSWERS: {"internal": True},
            FRONT: {},
        },
        "volumes": {name: {} for name in sorted(volumes)},
    }


def _names_of_volumes(part: Mapping[str, Any]) -> list[str]:
    return [volume["source"] for volume in part.get("volumes", ())]


def _version() -> str:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])


def _service(
    site: StackSite, service: Service, box: Container, between: Mapping[str, Step]
) -> dict[str, Any]:
    port = site.ports[service.name]
    return {
        **_common(service, box, between),
        "restart": "unless-stopped",
        "stop_signal": f"SIG{service.stop_signal}",
        "stop_grace_period": f"{service.stop_seconds}s",
        **({"ports": [f"127.0.0.1:{port}:{port}"]} if service.name in PUBLISHED else {}),
        "healthcheck": {
            "test": ["CMD", *_check(service, port)],
            "interval": f"{CHECK_INTERVAL}s",
            "timeout": "10s",
            "retries": CHECK_RETRIES,
            "start_period": f"{service.start_seconds}s",
        },
    }


def _step(step: Step, box: Container, between: Mapping[str, Step]) -> dict[str, Any]:
    # It is tried again where what it needs was not quite ready, and not for ever.
    return {**_common(step, box, between), "restart": "on-failure:3"}


def _common(part: Service | Step, box: Container, between: Mapping[str, Step]) -> dict[str, Any]:
    build = {
        "context": "..",
        "dockerfile": f"infra/{box.file}",
        **({"args": dict(box.arguments)} if box.arguments else {}),
    }
    volumes = {name: FOLDERS[name] for name in part.keeps} | dict(box.volumes or {})
    waits = {
        name: {
            "condition": "service_completed_successfully" if name in between else "service_healthy"
        }
        for name in part.needs
    }
    return {
        "image": box.image,
        **({"build": build} if box.file else {}),
        **({"entrypoint": list(box.entrypoint)} if box.entrypoint is not None else {}),
        "command": list(part.command),
        "environment": {**part.environment, **(box.environment or {})},
        **({"depends_on": waits} if waits else {}),
        "networks": list(box.networks),
        "user": box.user,
        "read_only": True,
        "tmpfs": list(box.scratch),
        **({"volumes": [_volume(*one) for one in volumes.items()]} if volumes else {}),
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "init": True,
        "deploy": {"resources": {"limits": {"cpus": str(box.processors), "memory": box.memory}}},
        "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
    }


def _volume(name: str, place: str) -> dict[str, str]:
    return {"type": "volume", "source": name, "target": place}


def _check(service: Service, port: int | str) -> list[str]:
    """Return the command that finds out, in its own container, whether a service is healthy."""
    if service.probe is None:
        return ["pg_isready", "--host=127.0.0.1", f"--port={port}", "--username=postgres"]
    if service.name == "s3":
        # Its image has no Python, and its answer to a stranger is a refusal.
        return ["nc", "-z", "127.0.0.1", str(port)]
    url = f"http://127.0.0.1:{port}{service.probe.path}"
    if service.name == "serving":
        # Its image has nothing of infra/.
        ask = f"import urllib.request; urllib.request.urlopen('{url}', timeout=5)"
        return ["python", "-c", ask]
    credentials = service.probe.credentials
    return [*CHECK, url, *([",".join(credentials)] if credentials else [])]


def rendered() -> str:
    """Return the text of compose.yaml."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 1000  # a value is never broken into two lines
    # Two values that are one object would become an anchor and its alias.
    yaml.representer.ignore_aliases = lambda _: True
    text = StringIO()
    yaml.dump(composed(), text)
    return f"{HEADER}{text.getvalue()}"


def write() -> None:
    """Write infra/compose.yaml."""
    with atomic_replace(FILE) as file:
        file.write_text(rendered(), encoding="utf-8")
