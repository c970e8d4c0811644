"""`/-/*` on AWS: the door as one Lambda function behind an API Gateway HTTP API, and the bundler that makes its zip."""
