"""Webhooks: let the MLflow server tell others of new versions and of promotions.

MLflow signs each delivery with the secret of the webhook (HMAC-SHA256);
`docs/examples/webhook_receiver.py` checks that. Only a server sends: a database that is written
directly tells nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cracks.errors import TrackingError
from cracks.registry.mlflow_store.connection import Connection

if TYPE_CHECKING:
    from mlflow.entities.webhook import Webhook as MlflowWebhook

#: A promotion and a rollback are an alias that was moved.
PROMOTION = "model_version_alias.created"
EVENTS = ("model_version.created", PROMOTION, "model_version_alias.deleted")

#: What the webhooks that were registered here are called; MLflow lets several share a name.
NAME = "cracks"

#: Characters that a secret must have at least.
SHORTEST_SECRET = 16


@dataclass(frozen=True)
class Webhook:
    """An address that gets events, of all models of the server: MLflow cannot filter."""

    id: str
    url: str
    events: tuple[str, ...]
    active: bool


class Webhooks:
    """The webhooks of the tracking server."""

    def __init__(self, connection: Connection) -> None:
        """Use the server of `connection`.

        Raises:
            TrackingError: it is a database and no server.
        """
        if not connection.uri.startswith("http"):
            raise TrackingError(
                "A local store sends no events, only an MLflow server does. "
                "Set MLFLOW_TRACKING_URI to the address of one."
            )
        self._connection, self._client = connection, connection.client

    def register(self, url: str, secret: str) -> Webhook:
        """Send events to `url` from now on; one that is registered already gets the new secret.

        Raises:
            TrackingError: the secret is too short, or the server does not accept the address.
        """
        if len(secret) < SHORTEST_SECRET:
            raise TrackingError(
                f"The secret of a webhook must have at least {SHORTEST_SECRET} characters. "
                "`openssl rand -hex 32` makes one."
            )
        known = next((one for one in self.list() if one.url == url), None)
        with self._connection.explained():
            if known is None:
                made = self._client.create_webhook(NAME, url, list(EVENTS), secret=secret)
            else:
                made = self._client.update_webhook(
                    known.id, events=list(EVENTS), secret=secret, status="ACTIVE"
                )
        return _webhook(made)

    def list(self) -> list[Webhook]:
        """Return the webhooks of the server, whoever registered them."""
        found: list[Webhook] = []
        page = None
        with self._connection.explained():
            while page != "":
                listed = self._client.list_webhooks(page_token=page)
                found += [_webhook(one) for one in listed]
                page = listed.token or ""
        return found

    def test(self, url: str) -> str:
        """Send an example of a promotion, and return the response in words.

        Raises:
            TrackingError: there is no such webhook, or it did not accept the example.
        """
        known = self._of(url)
        with self._connection.explained():
            result = self._client.test_webhook(known.id, PROMOTION)
        if not result.success:
            reason = result.error_message or f"it responded {result.response_status}"
            raise TrackingError(f"{url} did not accept the example: {' '.join(reason.split())}.")
        return f"{url} responded {result.response_status}"

    def remove(self, url: str) -> None:
        """Send no more events to `url`.

        Raises:
            TrackingError: there is no such webhook.
        """
        known = self._of(url)
        with self._connection.explained():
            self._client.delete_webhook(known.id)

    def _of(self, url: str) -> Webhook:
        found = next((one for one in self.list() if one.url == url), None)
        if found is None:
            raise TrackingError(f"No webhook leads to {url}. `make webhook` lists those there are.")
        return found


def _webhook(found: MlflowWebhook) -> Webhook:
    events = tuple(sorted(str(event) for event in found.events))
    return Webhook(found.webhook_id, found.url, events, found.status.is_active())
