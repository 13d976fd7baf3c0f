"""The pack's own form of a sample spec."""
