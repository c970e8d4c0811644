"""Every call that leaves the process: documents by URL, AWS, and threads for whatever blocks."""
