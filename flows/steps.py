"""Steps of a flow as Prefect tasks: transient errors are retried, a refusal is one line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from prefect import State, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.states import Failed
from prefect.tasks import Task

from cracks.errors import CracksError

logger = logging.getLogger("cracks.flows")

#: Seconds between two attempts. MLflow's server, killed, was away for a minute on a busy machine.
PAUSES: list[float] = [2, 4, 8, 60]


def only_transient_errors(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Return whether a failed task may succeed if it is tried again (Prefect asks)."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, CracksError) and error.is_transient:
        logger.warning("%s Trying again in a moment.", error)
        return True
    return False


def step(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator of one step, which makes a function a Prefect task.

    A transient error is retried with growing pauses. Any other refusal becomes a failed state that
    carries the error, so that no traceback stands where one line says all.
    """
    make_task = task(
        name=name,
        retries=len(PAUSES),
        retry_delay_seconds=PAUSES,
        retry_condition_fn=only_transient_errors,
        cache_policy=NO_CACHE,
    )

    def decorate(function: Callable[..., Any]) -> Any:
        @wraps(function)
        def refusing(*arguments: Any, **named: Any) -> Any:
            try:
                return function(*arguments, **named)
            except CracksError as error:
                if error.is_transient:
                    raise
                return Failed(message=str(error), data=error)

        return make_task(refusing)

    return decorate


def done(step_task: Any, *arguments: Any) -> Any:
    """Run a step and return its result, or raise the refusal that its failed state carries."""
    state = step_task(*arguments, return_state=True)
    if state.is_failed() and isinstance(state.data, CracksError):
        raise state.data
    return state.result()
