"""The bundle as a child process: where it lies, how it is started, followed, cancelled. Standard library only, no Qt."""
