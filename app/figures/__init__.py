"""Pictures from scenes: no GUI, no thread, no state. The viewer, the command line and tests call the same functions."""
