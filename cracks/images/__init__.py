"""Images: find, decode, batch, change and draw them."""
