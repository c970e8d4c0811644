"""What OpenSSL does: checking signatures, sealing, and the keys of passes."""
