"""The one thing that changes: the scene's layers, the events that say so, and the files that are open."""
