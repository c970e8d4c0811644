"""The one way out for each kind of question: URLs, AWS, calls that block."""
