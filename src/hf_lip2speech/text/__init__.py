"""Text as the lip reader's CTC head spells it: characters, decoding, alignment, transcripts."""
