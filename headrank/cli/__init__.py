"""Define the command `headrank`."""
