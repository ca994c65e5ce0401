"""`make down`: end every process of the stack; what it keeps stays."""

from __future__ import annotations

from infra.stack.leftovers import end_leftovers
from infra.stack.settings import Stack
from infra.stack.supervision import Supervisor
from infra.stack.up import Tell, only_one


def down(stack: Stack, tell: Tell) -> None:
    """End the stack, the last service first.

    Raises:
        StackError: somebody starts it at this moment, or the supervisor does not end.
    """
    if not stack.folder.is_dir():
        tell("The stack is down already.")
        return
    with only_one(stack):
        ran = Supervisor(stack).end()
        ended = end_leftovers(stack, flow_runs=True)
    if not ran and not ended:
        tell("The stack is down already.")
        return
    also = f" {ended} processes that nobody watched were ended too." if ended else ""
    tell(f"The stack is down; its data stays in {stack.folder}.{also}")
