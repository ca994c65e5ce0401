"""`make bench`: measure what this project costs, beside the plainest thing that does the same."""
