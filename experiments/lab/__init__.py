"""What several experiments share: sources, loop, rules by name, reports."""
