"""The command `headrank`."""
