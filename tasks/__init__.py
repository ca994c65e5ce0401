"""One stage a file: read, call, write. The stages know no tool; DVC and the flows run them."""
