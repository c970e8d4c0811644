"""A synthesised stack as if it were deployed: moto has its buckets, table and secrets, everything else is a name.

Only the functions of CloudFormation that the templates use are known; any other is an error.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3

from tests.helpers.cloudfront import DOMAIN

REGION, ACCOUNT = "us-east-1", "123456789012"
DISTRIBUTION_ID = "EDFDVBD6EXAMPLE"
_PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
}
_DYNAMIC = re.compile(r"\{\{resolve:secretsmanager:(.+):SecretString:::\}\}")


class Deployed:
    """One stack of a cloud assembly.

    Args:
        folder: of the assembly.
        stack: name of the stack.
        endpoint: of moto.

    Attributes:
        resources: logical id -> the resource as the template has it.
        s3: the account's own client.
    """

    def __init__(self, folder: Path, stack: str, endpoint: str) -> None:
        self._folder, self._endpoint = folder, endpoint
        self.resources: Mapping[str, Any] = json.loads((folder / f"{stack}.template.json").read_text())["Resources"]
        self._assets = json.loads((folder / f"{stack}.assets.json").read_text())["files"].values()
        self.s3 = self._client("s3")
        self._refs: dict[str, str] = {}
        self._prefix = secrets.token_hex(4)
        makers: Mapping[str, Callable[[str], str]] = {
            "AWS::S3::Bucket": self._bucket,
            "AWS::SecretsManager::Secret": self._secret,
            "AWS::DynamoDB::GlobalTable": self._table,
            "AWS::CloudFront::Distribution": lambda _: DISTRIBUTION_ID,
        }
        for name, one in self.resources.items():
            maker = makers.get(one["Type"])
            self._refs[name] = maker(name) if maker else f"{name}-id"
        for name in self.of_type("Custom::StagedoorErrorPage"):
            page = self.properties(name)
            self.s3.put_object(Bucket=page["Bucket"], Key=page["Key"], Body=page["Html"], ContentType="text/html")

    def close(self) -> None:
        self.s3.close()

    def of_type(self, kind: str) -> list[str]:
        """Logical ids."""
        return [name for name, one in self.resources.items() if one["Type"] == kind]

    def properties(self, name: str) -> Any:
        """Properties of a resource, resolved."""
        return self.resolve(self.resources[name].get("Properties", {}))

    def only(self, kind: str, **same: Any) -> Any:
        """Properties of the only resource of a type that has these values."""
        all_ = (self.properties(name) for name in self.of_type(kind))
        (found,) = (one for one in all_ if same.items() <= {k: v for k, v in one.items() if k in same}.items())
        return found

    def ref(self, name: str) -> str:
        return _PSEUDO.get(name) or self._refs[name]

    def named(self, ref: str) -> str:
        """Logical id of the resource whose `Ref` has this value."""
        (found,) = (name for name, value in self._refs.items() if value == ref)
        return found

    def zip_of(self, function: str) -> bytes:
        """The code of a function, as it is in the assembly."""
        key = self.properties(function)["Code"]["S3Key"]
        (path,) = {
            one["source"]["path"]
            for one in self._assets
            if any(target["objectKey"] == key for target in one["destinations"].values())
        }
        return (self._folder / str(path)).read_bytes()

    def resolve(self, value: Any) -> Any:
        """A value of the template, with CloudFormation's functions applied."""
        if isinstance(value, list):
            return [self.resolve(one) for one in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref":
                return self.ref(argument)
            if name == "Fn::GetAtt":
                return self._attribute(*argument)
            if name == "Fn::Join":
                return self._dynamic(argument[0].join(self.resolve(one) for one in argument[1]))
            if name == "Fn::Sub":
                return re.sub(r"\$\{([^}]+)\}", lambda found: self.ref(found[1]), argument)
            assert not name.startswith("Fn::"), name
        return {name: self.resolve(one) for name, one in value.items()}

    def _attribute(self, name: str, attribute: str) -> str:
        kind, ref = self.resources[name]["Type"], self._refs[name]
        if kind == "AWS::S3::Bucket":
            return {"Arn": f"arn:aws:s3:::{ref}", "RegionalDomainName": f"{ref}.s3.{REGION}.amazonaws.com"}[attribute]
        if kind == "AWS::CloudFront::Distribution":
            return {"DomainName": DOMAIN}[attribute]
        return {
            "Arn": f"arn:aws:{kind.split('::')[1].lower()}:{REGION}:{ACCOUNT}:{ref}",
            "Id": ref,
        }.get(attribute, f"{ref}.{attribute}")

    def _dynamic(self, text: str) -> str:
        """A text, or the secret that CloudFormation puts in its place."""
        found = _DYNAMIC.fullmatch(text)
        return self._client("secretsmanager").get_secret_value(SecretId=found[1])["SecretString"] if found else text

    def _client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "owner", "aws_secret_access_key": "owner"}
        return boto3.client(service, endpoint_url=self._endpoint, region_name=REGION, **keys)

    def _bucket(self, name: str) -> str:
        bucket = f"{self._prefix}-{name.lower()}"
        self.s3.create_bucket(Bucket=bucket)
        return bucket

    def _secret(self, name: str) -> str:
        wanted = self.resources[name]["Properties"]["GenerateSecretString"]
        text = secrets.token_hex(wanted["PasswordLength"] // 2)
        made = self._client("secretsmanager").create_secret(Name=f"{self._prefix}-{name}", SecretString=text)
        return str(made["ARN"])

    def _table(self, name: str) -> str:
        properties = self.resources[name]["Properties"]
        same = {key: properties[key] for key in ("AttributeDefinitions", "BillingMode", "KeySchema")}
        self._client("dynamodb").create_table(TableName=f"{self._prefix}-{name}", **same)
        return f"{self._prefix}-{name}"

    # --- who may do what with a bucket

    def allows(
        self, bucket: str, action: str, key: str, principal: Mapping[str, str], about: Mapping[str, str]
    ) -> bool:
        """Evaluate a bucket's policy: True if a statement allows it, and none denies it.

        Args:
            bucket: its name.
            action: `s3:GetObject`, …
            key: of the object; "" for the bucket itself.
            principal: `{"Service": …}`, `{"AWS": …}`, or empty for anonymous requests.
            about: the request's condition keys.
        """
        resource = f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else "")
        effects = {
            one["Effect"]
            for name in self.of_type("AWS::S3::BucketPolicy")
            if (policy := self.properties(name))["Bucket"] == bucket
            for one in policy["PolicyDocument"]["Statement"]
            if _is_about(one, action, resource, principal, about)
        }
        return effects == {"Allow"}


def _is_about(
    statement: Mapping[str, Any],
    action: str,
    resource: str,
    principal: Mapping[str, str],
    about: Mapping[str, str],
) -> bool:
    assert set(statement) <= {"Action", "Condition", "Effect", "Principal", "Resource", "Sid"}
    return (
        any(fnmatchcase(action, one) for one in _list(statement["Action"]))
        and any(fnmatchcase(resource, one) for one in _list(statement["Resource"]))
        and _is_meant(statement["Principal"], principal)
        and all(_holds(test, wanted, about) for test, wanted in statement.get("Condition", {}).items())
    )


def _is_meant(wanted: Any, principal: Mapping[str, str]) -> bool:
    anyone = wanted == "*" or "*" in _list(wanted.get("AWS", []))
    return anyone or any(value in _list(wanted.get(kind, [])) for kind, value in principal.items())


def _holds(test: str, wanted: Mapping[str, Any], about: Mapping[str, str]) -> bool:
    """Is the condition met? A key that the request does not have meets none."""
    facts = {name.lower(): value for name, value in about.items()}
    tests: Mapping[str, Callable[[str, Any], bool]] = {
        "StringEquals": lambda fact, value: fact == value,
        "ArnLike": fnmatchcase,
        "Bool": lambda fact, value: fact == value,
        "NumericLessThan": lambda fact, value: float(fact) < float(value),
    }
    return all(
        name.lower() in facts and any(tests[test](facts[name.lower()], value) for value in _list(values))
        for name, values in wanted.items()
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
