"""Who is told when a run fails: the channels that the environment names, as blocks of Prefect.

| variable | what it is |
|---|---|
| CRACKS_NOTIFY_WEBHOOK_URL | gets `{"subject": …, "body": …}` as JSON, by POST |
| CRACKS_NOTIFY_SLACK_URL | an incoming webhook of Slack, https://hooks.slack.com/services/… |
| CRACKS_NOTIFY_MAIL_URL | mailtos://USER:PASSWORD@HOST:587?from=ADDRESS&to=ADDRESS,ADDRESS |

The blocks hold secrets; Prefect keeps them encrypted in its database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

from infra.deployment.connection import DeploymentError

#: What the webhook is sent; Prefect's block fills it in.
CONTENT = {"subject": "{{subject}}", "body": "{{body}}"}


@dataclass(frozen=True)
class Channel:
    """A way to tell people: the variable with its address, and the block that is made of it."""

    variable: str
    #: How an address may begin.
    beginnings: tuple[str, ...]
    block: type[NotificationBlock]
    fields: Mapping[str, Any]


#: By the names of their blocks, to which automations.yaml refers. The block for Slack hands every
#: address that is none of Slack's to Apprise, which speaks SMTP: Prefect's only block for e-mail
#: speaks to the cloud of Sendgrid, and one of our own would have to be installed with the server.
CHANNELS = {
    "cracks-webhook": Channel(
        "CRACKS_NOTIFY_WEBHOOK_URL",
        ("http://", "https://"),
        CustomWebhookNotificationBlock,
        {"name": "cracks", "json_data": CONTENT},
    ),
    "cracks-slack": Channel(
        "CRACKS_NOTIFY_SLACK_URL",
        ("https://hooks.slack.com/services/",),
        SlackWebhook,
        {"notify_type": "failure"},
    ),
    "cracks-mail": Channel(
        "CRACKS_NOTIFY_MAIL_URL",
        ("mailto://", "mailtos://"),
        SlackWebhook,
        {"notify_type": "failure"},
    ),
}


def deploy_channels(client: SyncPrefectClient, variables: Mapping[str, str]) -> dict[str, UUID]:
    """Write the blocks of the channels that `variables` name.

    A channel whose variable is not set stays as it is: not everybody who deploys knows its secret.
    One whose variable is empty is removed.

    Returns:
        The identifiers of the blocks of all channels, by name.

    Raises:
        DeploymentError: an address is none of its kind.
    """
    blocks: dict[str, UUID] = {}
    for name, channel in CHANNELS.items():
        address = variables.get(channel.variable)
        there = _read(client, name, channel.block.get_block_type_slug())
        if address:
            blocks[name] = _save(name, channel, address)
        elif there and address is None:
            blocks[name] = there
        elif there:
            client.delete_block_document(there)
    return blocks


def _save(name: str, channel: Channel, address: str) -> UUID:
    if not address.startswith(channel.beginnings):
        # The address itself is a secret.
        allowed = " or ".join(channel.beginnings)
        raise DeploymentError(f"{channel.variable} must begin with {allowed}.")
    block = channel.block.model_validate({**channel.fields, "url": address})
    saved: Any = block.save(name, overwrite=True)
    return UUID(str(saved))


def _read(client: SyncPrefectClient, name: str, block_type: str) -> UUID | None:
    try:
        block = client.read_block_document_by_name(name, block_type)
    except ObjectNotFound:
        return None
    return UUID(str(block.id))
