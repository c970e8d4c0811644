"""The site on AWS, as a construct for the AWS CDK: `PrivateAssetBucket`.

It needs `stagedoor[cdk]` and Node.js, and makes every resource in us-east-1, where CloudFront wants its certificate,
its firewall and its edge functions to be.
"""

from __future__ import annotations

from .domain import CustomDomain
from .private_asset_bucket import PrivateAssetBucket

__all__ = ["CustomDomain", "PrivateAssetBucket"]
