"""The expectations that manifest and splits must meet, and the page of their results."""
