"""Passes: signed URLs and signed cookies as CloudFront has them, issued and verified off AWS too.

A pass is a small policy in JSON (a resource, an end, perhaps a start and a network) and a signature of its exact
text. A *canned* policy is not sent along: the verifier builds it from the URL and the end. The private-key
operation and the check with a public key are passed in.

Source of the rules: CloudFront Developer Guide, "Serve private content with signed URLs and signed cookies".
"""
