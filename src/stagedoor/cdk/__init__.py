"""The site on AWS, as constructs for the AWS CDK: `PrivateAssetBucket`, and `ContentApi` for what is under `/-/`.

They need `stagedoor[cdk]` and Node.js, and make every resource in us-east-1, where CloudFront wants its certificate,
its firewall and its edge functions to be.
"""

from __future__ import annotations

from .content_api import ContentApi
from .domain import CustomDomain
from .private_asset_bucket import PrivateAssetBucket

__all__ = ["ContentApi", "CustomDomain", "PrivateAssetBucket"]
