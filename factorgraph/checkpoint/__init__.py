"""What a run keeps on disk, so that one that was killed goes on where it was."""
