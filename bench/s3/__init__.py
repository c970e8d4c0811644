"""The gateway in front of S3, beside what people put there. `python -m bench.s3 --help` says how."""
