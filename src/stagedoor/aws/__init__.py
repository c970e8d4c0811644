"""The doors on AWS, and how their zips are packed."""
