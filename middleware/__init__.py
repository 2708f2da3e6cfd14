"""What happens around every job, one file each."""
