"""What has been run: records and predictions on disk, and the scores computed from them."""
