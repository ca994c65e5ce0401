"""What the operating system gives: atomic files, digests, the console, threads, the environment."""
