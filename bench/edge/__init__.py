"""The door at the edge beside npm's `cognito-at-edge`, both in one model of Lambda. `python -m bench.edge --help`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))  # the model of Lambda, and CloudFront's events: what the tests run the zip in
