"""OpenSSL's part: signature checks, sealing, and the keys of passes."""
