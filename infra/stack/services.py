"""The services and steps that infra/compose.yaml describes, as processes of this machine.

postgresql ─► databases ─┬─► mlflow
s3 ──────────► buckets ──┤
                         └─► prefect ─► deployments ─► worker
keys ────────► serving
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from infra.stack.settings import (
    CHECKOUT,
    LOCALHOST,
    PORTS,
    Stack,
    port_variable,
    read_env,
    read_others,
    read_ports,
    read_secrets,
)

FILE = CHECKOUT / "infra/compose.yaml"

#: Such as ${CRACKS_S3_PORT:-9000}; what is required has a value.
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)\}")


@dataclass(frozen=True)
class Step:
    """A command between two services, done at each start; it changes nothing the second time."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    #: Services that must be healthy, and steps that must be done, before it starts.
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Service(Step):
    """A process that runs as long as the stack does."""

    #: Where a person or a client opens it.
    address: str
    #: The command that tells its container whether it is healthy.
    check: tuple[str, ...]
    #: How it is asked to end, and the seconds that it has to do so.
    stop_signal: str
    stop_seconds: int
    #: Seconds that a first start may take on a slow machine.
    start_seconds: int


@dataclass(frozen=True)
class Description:
    """The whole stack."""

    #: By name, in the order in which they start.
    services: Mapping[str, Service]
    steps: Mapping[str, Step]
    #: What a person's shell needs to use the stack: `cracks`, dvc, curl, all tools.
    client: Mapping[str, str]

    def parts(self, names: Collection[str]) -> dict[str, Step]:
        """Return the named services, what they need, and the steps that need nothing beyond these.

        Args:
            names: of services; none means all.
        """
        known = {**self.services, **self.steps}
        if not names:
            return known
        chosen: set[str] = set()
        wanted = list(names)
        while wanted:
            name = wanted.pop()
            if name not in chosen:
                chosen.add(name)
                wanted.extend(known[name].needs)
        chosen |= {one.name for one in self.steps.values() if one.needs and chosen >= {*one.needs}}
        return {name: part for name, part in known.items() if name in chosen}


def describe(stack: Stack) -> Description:
    """Return what compose.yaml says, with the ports, secrets and folders of a local stack.

    Raises:
        StackError: the stack has no secrets yet, or a port is none.
    """
    content = YAML(typ="safe").load(FILE)
    ports, folders = read_ports(stack), _folders(stack)
    values = {
        **read_others(stack),
        **read_secrets(stack),
        **{port_variable(name): str(port) for name, port in ports.items()},
        **{f"CRACKS_{name.upper()}_HOST": LOCALHOST for name in PORTS},
        "CRACKS_LISTEN": LOCALHOST,
    }

    def resolve(text: str) -> str:
        for place, here in folders.items():
            text = text.replace(place, here)
        return VARIABLE.sub(lambda found: values.get(found[1], found[2] or ""), text)

    def common(name: str, part: Mapping[str, Any]) -> dict[str, Any]:
        variables = read_env(FILE.parent / part["env_file"]) if "env_file" in part else {}
        return {
            "name": name,
            "command": tuple(map(resolve, part["command"])),
            "environment": variables | {k: resolve(v) for k, v in part["environment"].items()},
            "needs": tuple(part.get("depends_on", ())),
        }

    def service(name: str, part: Mapping[str, Any]) -> Service:
        protocol = "postgresql" if name == "postgresql" else "http"
        return Service(
            **common(name, part),
            address=f"{protocol}://{LOCALHOST}:{ports[name]}",
            check=tuple(map(resolve, part["healthcheck"]["test"])),
            stop_signal=part["stop_signal"].removeprefix("SIG"),
            stop_seconds=int(part["stop_grace_period"].removesuffix("s")),
            start_seconds=int(part["healthcheck"]["start_period"].removesuffix("s")),
        )

    parts = content["services"].items()
    return Description(
        services={name: service(name, part) for name, part in parts if name in PORTS},
        steps={name: Step(**common(name, part)) for name, part in parts if name not in PORTS},
        client={name: resolve(value) for name, value in content["x-client"].items()},
    )


def _folders(stack: Stack) -> dict[str, str]:
    """Return where on this machine lies what a container has at a place of its own."""
    return {
        "/opt/cracks": str(CHECKOUT),
        "/var/lib/postgresql/data": str(stack.databases),
        "/srv/s3": str(stack.storage),
        "/srv/cracks/service": str(stack.service),
        "/srv/prefect": str(stack.prefect),
        "/var/run/postgresql": "",  # no socket: everything goes through the port
    }
