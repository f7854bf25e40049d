"""The bundle as a child process: where it lies, how it is started, followed and ended. Standard library only, no Qt."""
