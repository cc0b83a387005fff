"""Everything that knows files: sources, reading and writing sound and video, muxing."""
