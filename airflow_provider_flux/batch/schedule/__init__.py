"""When to submit and when to poll: pure decisions, without a clock or a socket."""
