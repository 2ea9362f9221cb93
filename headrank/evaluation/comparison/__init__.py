"""Compares several runs in one report."""
