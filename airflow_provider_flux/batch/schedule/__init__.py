"""Times and numbers of submits and polls: pure decisions, without a clock or a socket."""
