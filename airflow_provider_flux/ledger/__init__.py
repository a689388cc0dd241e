"""What has been paid for and where it went: written down before and right after each paid submit."""
