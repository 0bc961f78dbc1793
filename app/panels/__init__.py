"""The viewer's panels, one small class a file: what they show and which workspace method a handle calls."""
