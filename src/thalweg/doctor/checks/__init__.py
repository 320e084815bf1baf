"""Checks of the wiring: each is a small experiment on a copy, and a finding when it fires."""
