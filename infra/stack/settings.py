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
from dataclasses import dataclass
from pathlib import Path

from cracks.errors import CracksError

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


@dataclass(frozen=True)
class Stack:
    """The places of one stack."""

    folder: Path

    @property
    def secrets(self) -> Path:
        """Every password and key, for nobody but the owner."""
        return self.folder / "secrets.env"

    @property
    def ports(self) -> Path:
        """The ports, and variables for the services (CRACKS_MENDELEY_URL), to be edited."""
        return self.folder / "stack.env"

    @property
    def client(self) -> Path:
        """What a shell sources to use the stack: addresses and credentials."""
        return self.folder / "client.env"

    @property
    def databases(self) -> Path:
        """The cluster of PostgreSQL."""
        return self.folder / "postgresql"

    @property
    def storage(self) -> Path:
        """The folder that S3 serves: each folder in it is a bucket."""
        return self.folder / "s3"

    @property
    def service(self) -> Path:
        """The folder through which promotion hands bundles to the service."""
        return self.folder / "service"

    @property
    def prefect(self) -> Path:
        """What Prefect keeps beside its database: results, and copies in passing."""
        return self.folder / "prefect"

    @property
    def deployed(self) -> Path:
        """The digest of what was deployed last."""
        return self.folder / "deployed.txt"

    @property
    def logs(self) -> Path:
        """One file a service."""
        return self.folder / "logs"

    @property
    def supervisor(self) -> Path:
        """The configuration of the supervisor, written at each start."""
        return self.folder / "supervisord.conf"

    @property
    def socket(self) -> Path:
        """Where the supervisor takes orders, from the owner only."""
        return self.folder / "supervisor.sock"

    @property
    def lock(self) -> Path:
        """Held by whoever starts or stops the stack."""
        return self.folder / ".lock"

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
    written = read_env(stack.ports)
    ports = {
        name: _port(written.get(port_variable(name), str(usual)), name, stack.ports)
        for name, usual in PORTS.items()
    }
    for name, port in ports.items():
        others = [other for other in ports if ports[other] == port and other != name]
        if others:
            raise StackError(
                f"{name} and {others[0]} both have port {port}. "
                f"Give one of them another in {stack.ports}."
            )
    return ports


def read_others(stack: Stack) -> dict[str, str]:
    """Return what stands in stack.env beside the ports: variables that every service gets."""
    ports = {port_variable(name) for name in PORTS}
    return {name: value for name, value in read_env(stack.ports).items() if name not in ports}


def choose_ports(stack: Stack, environment: Mapping[str, str]) -> dict[str, int]:
    """Return the ports, and keep in stack.env what the environment says of them.

    Raises:
        StackError: as `read_ports`.
    """
    asked = {
        port_variable(name): environment[port_variable(name)]
        for name in PORTS
        if environment.get(port_variable(name))
    }
    usual = {port_variable(name): str(port) for name, port in PORTS.items()}
    written = usual | read_env(stack.ports) | asked
    if written != read_env(stack.ports):
        before = stack.ports.read_bytes() if stack.ports.is_file() else None
        write_env(stack.ports, written, COMMENT)
        try:
            return read_ports(stack)
        except StackError:
            _put_back(stack.ports, before)
            raise
    return read_ports(stack)


def _put_back(file: Path, content: bytes | None) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)


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
    partial = file.with_name(f".{file.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(content)
    partial.replace(file)


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
