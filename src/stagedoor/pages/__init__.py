"""The HTML and CSS that people see."""
