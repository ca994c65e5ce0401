"""Make Prefect's server have the automations of `automations.yaml`, and none twice.

`prefect automation create --from-file` makes each automation of its file once more, every time.
What prefect.yaml has under `triggers:` is deleted and created again by each `prefect deploy`: one
that a person has switched off would be on again, and an event in between would be missed. So here
an automation is looked for by its name, and changed in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.automations import AutomationCore
from prefect.client.orchestration import SyncPrefectClient
from prefect.utilities.templating import apply_values
from ruamel.yaml import YAML

FILE = Path(__file__).with_name("automations.yaml")

#: By this tag our automations are known on the server; others are left alone.
TAG = "cracks"

#: What the placeholders begin with that Prefect fills in when it acts.
OF_PREFECT = ["event", "flow"]


def read_automations(values: Mapping[str, Any]) -> dict[str, AutomationCore]:
    """Return what is declared, by name, with `values` for its `{{ deploy.… }}`.

    A notification through a channel that is not among `values` is left out, and so is an automation
    that has nothing else to do.
    """
    declared: list[dict[str, Any]] = apply_values(
        YAML(typ="safe").load(FILE), {"deploy": values}, skip_prefixes=OF_PREFECT
    )
    for one in declared:
        one["actions"] = [action for action in one["actions"] if _has_a_channel(action)]
    return {
        one["name"]: AutomationCore.model_validate(one | {"tags": [TAG]})
        for one in declared
        if one["actions"]
    }


def apply_automations(client: SyncPrefectClient, wanted: Mapping[str, AutomationCore]) -> None:
    """Make the server have the automations that are wanted, and no others of ours.

    One that a person has switched off stays off. One that is as it must be is not touched: where
    it is written, Prefect forgets the runs whose next sign of life it waits for.
    """
    there = {one.name: one for one in client.read_automations() if TAG in one.tags}
    for name, automation in wanted.items():
        if name not in there:
            client.create_automation(automation)
            continue
        automation.enabled = there[name].enabled
        if automation.model_dump() != there[name].model_dump(exclude={"id"}):
            client.update_automation(there[name].id, automation)
    for name in there.keys() - wanted.keys():
        client.delete_automation(there[name].id)


def _has_a_channel(action: Mapping[str, Any]) -> bool:
    return action["type"] != "send-notification" or "block_document_id" in action
