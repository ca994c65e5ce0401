"""A real S3 and IAM endpoint (moto as a server of its own), with accounts, users and policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
from processes import TOOLS, StartProcess, free_port

REGION = "eu-central-1"


@dataclass(frozen=True)
class Credentials:
    access_key: str = "nobody-in-particular"
    secret_key: str = "not checked before `enforce`"
    token: str | None = None

    @property
    def variables(self) -> dict[str, str]:
        names = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        return names | ({"AWS_SESSION_TOKEN": self.token} if self.token else {})


@dataclass(frozen=True)
class AwsServer:
    url: str

    @classmethod
    def start(cls, start: StartProcess) -> AwsServer:
        port = free_port()
        process = start([TOOLS / "moto_server", "-H", "127.0.0.1", "-p", str(port)], name="moto")
        process.wait_until(lambda: "Running on" in process.stderr, "moto")
        return cls(f"http://127.0.0.1:{port}")

    def client(self, service: str, credentials: Credentials | None = None) -> Any:
        import boto3

        who = credentials or Credentials()
        return boto3.Session().client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=who.access_key,
            aws_secret_access_key=who.secret_key,
            aws_session_token=who.token,
        )

    def variables(self, credentials: Credentials | None = None) -> dict[str, str]:
        """Return what a process needs to use this server and no other."""
        who = credentials or Credentials()
        alone = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
        alone |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": REGION}
        return {"AWS_ENDPOINT_URL": self.url, **alone, **who.variables}

    def other_account(self) -> Credentials:
        """Return credentials of somebody else."""
        role = "arn:aws:iam::111111111111:role/somebody"
        answer = self.client("sts").assume_role(RoleArn=role, RoleSessionName="else")
        given = answer["Credentials"]
        return Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])

    def user(self, name: str, policy: str) -> Credentials:
        """Return the credentials of a new user who may do what the policy says, and no more."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        made = iam.create_policy(PolicyName=name, PolicyDocument=policy)["Policy"]
        iam.attach_user_policy(UserName=name, PolicyArn=made["Arn"])
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return Credentials(key["AccessKeyId"], key["SecretAccessKey"])

    def enforce(self) -> None:
        """From now on look at the signature and the policy of every request."""
        httpx.post(f"{self.url}/moto-api/reset-auth", content=b"0").raise_for_status()

    def forget(self) -> None:
        """Forget all buckets and users, and enforce nothing."""
        httpx.post(f"{self.url}/moto-api/reset-auth", content=b"inf").raise_for_status()
        httpx.post(f"{self.url}/moto-api/reset").raise_for_status()
