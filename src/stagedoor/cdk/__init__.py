"""The site on AWS, as constructs for the AWS CDK: `PrivateAssetBucket`, and `ContentApi` for `/-/*`.

They need `stagedoor[cdk]` and Node.js. Every resource is in us-east-1, because CloudFront takes its certificate, its
firewall and its edge functions from there alone.
"""

from __future__ import annotations

from .content_api import ContentApi
from .domain import CustomDomain
from .private_asset_bucket import PrivateAssetBucket

__all__ = ["ContentApi", "CustomDomain", "PrivateAssetBucket"]
