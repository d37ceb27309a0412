"""Tests of the page in Chromium, against running systems."""
