"""Who is told when a run fails: the channels that the environment names, as blocks of Prefect.

| variable | what it is |
|---|---|
| CRACKS_NOTIFY_WEBHOOK_URL | gets `{"subject": …, "body": …}` as JSON, by POST |
| CRACKS_NOTIFY_SLACK_URL | an incoming webhook of Slack, https://hooks.slack.com/services/… |
| CRACKS_NOTIFY_MAIL_URL | mailtos://USER:PASSWORD@HOST:587?from=ADDRESS&to=ADDRESS,ADDRESS |

The blocks hold secrets; Prefect keeps them encrypted in its database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from infra.deployment.connection import DeploymentError


def webhook(url: str) -> NotificationBlock:
    """Return a channel that posts JSON to an address."""
    _require(url, "CRACKS_NOTIFY_WEBHOOK_URL", "http://", "https://")
    content = {"subject": "{{subject}}", "body": "{{body}}"}
    return CustomWebhookNotificationBlock(
        name="cracks", url=url, json_data=content, headers=None, cookies=None
    )


def slack(url: str) -> NotificationBlock:
    """Return a channel that posts to an incoming webhook of Slack."""
    _require(url, "CRACKS_NOTIFY_SLACK_URL", "https://hooks.slack.com/services/")
    return SlackWebhook(url=SecretStr(url), notify_type="failure")


def mail(url: str) -> NotificationBlock:
    """Return a channel that sends e-mail through an SMTP server.

    Prefect's only block for e-mail speaks to the cloud of Sendgrid. Its block for Slack hands every
    address that is none of Slack's to Apprise, which speaks SMTP; a block of our own would have to
    be installed wherever the server is.
    """
    _require(url, "CRACKS_NOTIFY_MAIL_URL", "mailto://", "mailtos://")
    return SlackWebhook(url=SecretStr(url), notify_type="failure")


@dataclass(frozen=True)
class Channel:
    """A way to tell people: the variable with its address, and the block that is made of it."""

    variable: str
    name: str
    make: Callable[[str], NotificationBlock]
    block_type: str


CHANNELS = (
    Channel("CRACKS_NOTIFY_WEBHOOK_URL", "cracks-webhook", webhook, "custom-webhook"),
    Channel("CRACKS_NOTIFY_SLACK_URL", "cracks-slack", slack, "slack-webhook"),
    Channel("CRACKS_NOTIFY_MAIL_URL", "cracks-mail", mail, "slack-webhook"),
)


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
    for channel in CHANNELS:
        address = variables.get(channel.variable)
        there = _read(client, channel)
        if address:
            saved: Any = channel.make(address).save(channel.name, overwrite=True)
            blocks[channel.name] = saved
        elif there and address is None:
            blocks[channel.name] = there
        elif there:
            client.delete_block_document(there)
    return blocks


def _read(client: SyncPrefectClient, channel: Channel) -> UUID | None:
    try:
        block = client.read_block_document_by_name(channel.name, channel.block_type)
    except ObjectNotFound:
        return None
    return UUID(str(block.id))


def _require(url: str, variable: str, *beginnings: str) -> None:
    if not url.startswith(beginnings):
        # The address itself is a secret.
        raise DeploymentError(f"{variable} must begin with {' or '.join(beginnings)}.")
