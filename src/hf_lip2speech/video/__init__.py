"""Frames -> mouth crops: face landmarks, tracking, warping. Knows arrays alone; media reads the files."""
