"""What one stack is made with: its folder, its ports, its secrets, and the programs it runs.

Everything lies in the folder .stack of the checkout, or in the one that CRACKS_STACK_DIR names.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from cracks.errors import CracksError
from cracks.system.atomic_files import atomic_replace

CHECKOUT = Path(__file__).resolve().parents[2]

#: Variable of the environment: another folder for the stack.
FOLDER_VARIABLE = "CRACKS_STACK_DIR"

#: The port of each service where nobody asks for another one. 5432 is that of Debian's own cluster.
PORTS = {
    "postgresql": 5433,
    "s3": 9000,
    "mlflow": 5000,
    "prefect": 4200,
    "worker": 4201,
    "serving": 8000,
}

#: Where every service listens.
LOCALHOST = "127.0.0.1"

#: The databases of PostgreSQL, each with an owner of its name.
DATABASES = ("mlflow", "prefect")

#: Who opens MLflow and Prefect, and whose key opens the service.
ADMIN = "admin"

#: Heads stack.env.
COMMENT = "Ports, and variables for every service. After a change: make up"

#: Random bytes of a secret.
SECRET_BYTES = 24

#: Secrets by name. The password of the databases' superuser opens all others, and is used at a
#: start only.
SECRETS = (
    "CRACKS_POSTGRES_PASSWORD",
    "CRACKS_MLFLOW_DB_PASSWORD",
    "CRACKS_PREFECT_DB_PASSWORD",
    "CRACKS_S3_KEY_ID",
    "CRACKS_S3_SECRET_KEY",
    "CRACKS_MLFLOW_PASSWORD",
    "CRACKS_MLFLOW_SECRET_KEY",
    "CRACKS_MLFLOW_WEBHOOK_KEY",
    "CRACKS_PREFECT_PASSWORD",
    "CRACKS_SERVICE_KEY",
)

#: Bytes of the path of a Unix socket, of which supervisor takes some for a name in passing.
LONGEST_SOCKET = 107 - len(".1234567")


class StackError(CracksError):
    """The stack cannot be started, stopped or asked; the message says what to do."""


class Stack:
    """The places of one stack."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: Every password and key, for nobody but the owner.
        self.secrets = folder / "secrets.env"
        #: The ports, and variables for the services (CRACKS_MENDELEY_URL), to be edited.
        self.ports = folder / "stack.env"
        #: What a shell sources to use the stack: addresses and credentials.
        self.client = folder / "client.env"
        #: The cluster of PostgreSQL.
        self.databases = folder / "postgresql"
        #: What S3 serves: each folder in it is a bucket.
        self.storage = folder / "s3"
        #: Through which promotion hands bundles to the service.
        self.service = folder / "service"
        #: What Prefect keeps beside its database: results, and copies in passing.
        self.prefect = folder / "prefect"
        #: The digest of what was deployed last.
        self.deployed = folder / "deployed.txt"
        #: One file a service.
        self.logs = folder / "logs"
        #: The configuration of the supervisor, written at each start.
        self.supervisor = folder / "supervisord.conf"
        #: Where the supervisor takes orders, from the owner only.
        self.socket = folder / "supervisor.sock"
        #: Held by whoever starts or stops the stack.
        self.lock = folder / ".lock"

    def log(self, service: str) -> Path:
        """Return the log file of one service."""
        return self.logs / f"{service}.log"


def open_stack(environment: Mapping[str, str] | None = None) -> Stack:
    """Return the stack of this checkout, or the one that CRACKS_STACK_DIR names.

    Raises:
        StackError: the path is too long for the socket of the supervisor.
    """
    named = (environment if environment is not None else os.environ).get(FOLDER_VARIABLE)
    stack = Stack(Path(named or CHECKOUT / ".stack").resolve())
    if len(os.fsencode(stack.socket)) > LONGEST_SOCKET:
        raise StackError(
            f"{stack.folder} is too long a path for a socket. "
            f"Set {FOLDER_VARIABLE} to a shorter one."
        )
    return stack


# --- ports ----------------------------------------------------------------------------------------


def port_variable(service: str) -> str:
    """Return the variable that sets the port of a service."""
    return f"CRACKS_{service.upper()}_PORT"


def read_ports(stack: Stack) -> dict[str, int]:
    """Return the port of each service as stack.env says, or else the usual one.

    Raises:
        StackError: a port is no number, or two services have the same.
    """
    return _ports_of(read_env(stack.ports), stack.ports)


def _ports_of(written: Mapping[str, str], file: Path) -> dict[str, int]:
    ports = {
        name: _port(written.get(port_variable(name), str(usual)), name, file)
        for name, usual in PORTS.items()
    }
    for name, port in ports.items():
        others = [other for other in ports if ports[other] == port and other != name]
        if others:
            raise StackError(
                f"{name} and {others[0]} both have port {port}. Give one of them another in {file}."
            )
    return ports


def read_others(stack: Stack) -> dict[str, str]:
    """Return what stands in stack.env beside the ports: variables that every service gets."""
    ports = set(map(port_variable, PORTS))
    return {name: value for name, value in read_env(stack.ports).items() if name not in ports}


def choose_ports(stack: Stack, environment: Mapping[str, str]) -> dict[str, int]:
    """Return the ports, and keep in stack.env what the environment says of them.

    Raises:
        StackError: as `read_ports`.
    """
    usual = {port_variable(name): str(port) for name, port in PORTS.items()}
    chosen = {name: environment[name] for name in usual if environment.get(name)}
    before = read_env(stack.ports)
    written = usual | before | chosen
    ports = _ports_of(written, stack.ports)
    if written != before:
        write_env(stack.ports, written, COMMENT)
    return ports


def _port(text: str, service: str, file: Path) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise StackError(
            f"{port_variable(service)}={text} is no port. "
            f"Give one from 1 to 65535, in {file} or the environment."
        )
    return int(text)


# --- secrets --------------------------------------------------------------------------------------


def read_secrets(stack: Stack) -> dict[str, str]:
    """Return the secrets.

    Raises:
        StackError: there are none yet, or some are missing.
    """
    found = read_env(stack.secrets)
    missing = [name for name in SECRETS if not found.get(name)]
    if missing:
        raise StackError(f"{stack.secrets} has no {missing[0]}. `make up` writes it.")
    return found


def keep_secrets(stack: Stack) -> dict[str, str]:
    """Return the secrets; make those that are missing.

    Raises:
        StackError: the databases exist, but the passwords that open them are lost.
    """
    found = read_env(stack.secrets)
    if stack.databases.exists() and not found.get("CRACKS_POSTGRES_PASSWORD"):
        raise StackError(
            f"{stack.databases} exists, but {stack.secrets} with its passwords is gone. Bring it "
            f"back from a back-up, or remove {stack.folder} to begin again."
        )
    made = {name: new_secret(name) for name in SECRETS if not found.get(name)}
    if made:
        comment = "Secrets of the stack, made on first use. Whoever reads them rules the stack."
        write_env(stack.secrets, found | made, comment)
    stack.secrets.chmod(0o600)
    return found | made


def new_secret(name: str) -> str:
    """Return a random secret; some have the form that their readers want."""
    if name == "CRACKS_SERVICE_KEY":
        from serving.middleware.api_keys import new_key

        return new_key()
    if name == "CRACKS_S3_KEY_ID":
        return f"cracks-{secrets.token_hex(4)}"
    if name == "CRACKS_MLFLOW_WEBHOOK_KEY":
        # 32 bytes in base64, with the padding that token_urlsafe leaves out.
        return secrets.token_urlsafe(32) + "="
    return secrets.token_hex(SECRET_BYTES)


# --- files of variables ---------------------------------------------------------------------------


def read_env(file: Path) -> dict[str, str]:
    """Return the variables in a file of lines NAME=VALUE; none if there is no such file.

    Raises:
        StackError: a quotation mark is not closed.
    """
    if not file.is_file():
        return {}
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): _unquoted(name, value, file) for name, _, value in pairs}


def _unquoted(name: str, value: str, file: Path) -> str:
    try:
        return " ".join(shlex.split(value))
    except ValueError as error:
        raise StackError(f"{file}: {name}: {str(error).lower()}. Fix the line.") from None


def write_env(file: Path, variables: Mapping[str, str], comment: str) -> None:
    """Write a file of variables that only its owner may read, in one move."""
    quoted = (f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
    content = f"# {comment}\n" + "".join(quoted)
    if file.is_file() and file.read_text(encoding="utf-8") == content:
        return
    with atomic_replace(file) as partial:
        partial.touch(mode=0o600)
        partial.write_text(content, encoding="utf-8")


# --- programs -------------------------------------------------------------------------------------


def tool(name: str) -> str:
    """Return the path of a program of this environment: mlflow, prefect, cracks."""
    return str(Path(sys.executable).with_name(name))


def rclone() -> str:
    """Return where `make setup` puts rclone, or what CRACKS_RCLONE names.

    Raises:
        StackError: there is none.
    """
    program = Path(os.environ.get("CRACKS_RCLONE") or CHECKOUT / ".tools/rclone")
    if not program.is_file():
        raise StackError(
            f"There is no {program}, which serves S3. `make setup` installs it; "
            "CRACKS_RCLONE names another one."
        )
    return str(program)


def postgresql_program(name: str) -> str:
    """Return the path of `postgres` or `initdb`, of the newest PostgreSQL there is.

    Raises:
        StackError: there is none.
    """
    for folder in _postgresql_folders():
        if (folder / name).is_file():
            return str(folder / name)
    raise StackError(
        f"There is no PostgreSQL with `{name}`. On Debian: apt-get install postgresql. Elsewhere: "
        "put the folder of its `pg_config` on the PATH."
    )


def _postgresql_folders() -> Iterable[Path]:
    if shutil.which("pg_config"):
        # Debian's refuses where no package for developers is installed.
        command = ["pg_config", "--bindir"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            yield Path(asked.stdout.strip())
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)


def _version(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdecimal() else 0
