"""Container files, as far as tests ask about them: stages and their instructions."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """Such as `COPY` with `pyproject.toml uv.lock ./`, on one line."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """What follows, as the exec form says it or as a shell would split it."""
        if self.rest.startswith("["):
            words: list[str] = json.loads(self.rest)
            return words
        return shlex.split(self.rest)


@dataclass(frozen=True)
class Stage:
    """What begins with one FROM."""

    base: str
    name: str
    instructions: list[Instruction]

    def all(self, name: str) -> list[Instruction]:
        return [one for one in self.instructions if one.name == name]

    def last(self, name: str) -> Instruction:
        """The one that counts of those that replace each other."""
        return self.all(name)[-1]

    @property
    def variables(self) -> dict[str, str]:
        """What ENV sets."""
        pairs = [word.partition("=") for one in self.all("ENV") for word in one.words]
        return {name: value for name, _, value in pairs}


def read_containerfile(path: Path) -> list[Stage]:
    """Return the stages of a container file; arguments before the first FROM are filled in."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    given: dict[str, str] = {}
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            base, *alias = re.sub(r"\$\{(\w+)\}", lambda at: given[at[1]], rest).split()
            stages.append(Stage(base, alias[-1] if alias else "", []))
        elif name == "ARG" and not stages:
            key, _, value = rest.partition("=")
            given[key] = value
        elif name:
            stages[-1].instructions.append(Instruction(name.upper(), rest.strip()))
    return stages
