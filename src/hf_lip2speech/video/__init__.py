"""Silent video -> mouth clip: decoding, face landmarks, mouth crop."""
