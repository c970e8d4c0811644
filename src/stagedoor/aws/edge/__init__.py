"""CloudFront's edge: the door as Lambda@Edge functions, and the bundler that makes them."""
